"""Measured points that a law is fitted to: model size, visual tokens, error."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import compress
from pathlib import Path

from foveate.errors import InputError

Number = float | int
FAMILIES = (
    "reasoning",
    "ocr",
)  # published with arXiv 2411.03312; each file says where its source disagrees with itself


@dataclass(frozen=True)
class Points:
    """Equally many sizes, token counts, errors and, of clips, counts of frames.

    Attributes:
        params_b: LLM parameters in billions.
        tokens: visual tokens, a picture or frame.
        error: 1 - score, in [0, 1].
        frames: None where all points are of one picture.
    """

    params_b: tuple[float, ...]
    tokens: tuple[float, ...]
    error: tuple[float, ...]
    frames: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        columns = {**self.axes, "error": self.error}
        lengths = [len(column) for column in columns.values()]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise InputError(
                f"{_listed(columns)} must be equally many and at least 1, got {_listed(lengths)}"
            )
        for name, values in self.axes.items():
            bad = [value for value in values if not (math.isfinite(value) and value > 0)]
            if bad:
                raise InputError(f"{name} must be finite and above 0, got {bad[0]}")
        bad = [value for value in self.error if not 0 <= value <= 1]  # also true of NaN
        if bad:
            raise InputError(
                f"error must be in [0, 1], got {bad[0]}; a percentage is divided by 100"
            )
        kinds = ("model sizes", "token counts", "frame counts")
        for name, values in zip(kinds, self.axes.values(), strict=False):
            if len(set(values)) < 2:
                raise InputError(
                    f"a law needs at least 2 {name}, got only {values[0]:g}: its effect could not be told"
                )

    @classmethod
    def of(
        cls,
        params_b: Iterable[Number],
        tokens: Iterable[Number],
        error: Iterable[Number],
        frames: Iterable[Number] | None = None,
    ) -> "Points":
        """From any sequences of numbers."""
        columns = [params_b, tokens, error] + ([] if frames is None else [frames])
        return cls(*(tuple(float(value) for value in column) for column in columns))

    @property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """What a law is a function of, by name: sizes, visual tokens, and frames where there are any."""
        axes = {"params_b": self.params_b, "visual_tokens": self.tokens}
        return axes if self.frames is None else {**axes, "frames": self.frames}

    @property
    def cells(self) -> list[tuple[float, ...]]:
        """Each point's place on the axes."""
        return list(zip(*self.axes.values(), strict=True))

    @property
    def distinct(self) -> int:
        """Different places: repeats add precision, not parameters."""
        return len(set(self.cells))

    def covers(self, **place: Number) -> bool:
        """Whether there are points on both sides of a place, on each axis that is named."""
        return all(
            min(self.axes[name]) * 0.999 <= value <= max(self.axes[name]) * 1.001
            for name, value in place.items()
        )

    def where(self, kept: Sequence[bool]) -> "Points":
        """The points at which `kept` is true."""
        columns = [self.params_b, self.tokens, self.error] + ([self.frames] if self.frames else [])
        return Points.of(*(compress(column, kept) for column in columns))


def published(family: str, *, doubtful: bool = True) -> Points:
    """The 28 published points of a task family; without `doubtful`, those on which the source agrees.

    Raises:
        InputError: no such family.
    """
    if family not in FAMILIES:
        raise InputError(f"published points are of {FAMILIES}, got {family!r}")
    text = (files("foveate.laws") / "points" / f"{family}.csv").read_text()
    return _parse(text, f"{family}.csv", doubtful)


def read_points(path: Path) -> Points:
    """Points of a CSV file: params_b, visual_tokens, error or score, maybe frames; `#` begins a comment.

    Raises:
        InputError: no such file, a missing column, or a cell that is not a number.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the points of {path}: {error}") from None
    return _parse(text, str(path), doubtful=True)


def _parse(text: str, name: str, doubtful: bool) -> Points:  # noqa: FBT001
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = csv.DictReader(lines, skipinitialspace=True)
    columns = [column.strip() for column in table.fieldnames or ()]
    table.fieldnames = columns
    missing = [column for column in ("params_b", "visual_tokens") if column not in columns]
    if "error" not in columns and "score" not in columns:
        missing.append("error (or score)")
    if missing:
        raise InputError(
            f"{name} lacks {', '.join(missing)}; its columns: {', '.join(columns) or '-'}"
        )
    rows = [row for row in table if doubtful or row.get("doubtful") != "1"]
    names = ["params_b", "visual_tokens", "error" if "error" in columns else "score"]
    names += [name for name in columns if name == "frames"]
    found = [_numbers(row, names, f"{name}, row {number}") for number, row in enumerate(rows, 1)]
    read = {name: [numbers[place] for numbers in found] for place, name in enumerate(names)}
    error = read.get("error") or [1 - score for score in read.get("score", ())]
    return Points.of(read["params_b"], read["visual_tokens"], error, read.get("frames"))


def _numbers(row: dict[str, str], names: Sequence[str], place: str) -> list[float]:
    try:
        return [float(row[name]) for name in names]
    except (TypeError, ValueError):
        raise InputError(f"{place}: a cell is missing or not a number: {row}") from None


def _listed(words: Iterable[object]) -> str:
    *most, last = map(str, words)
    return f"{', '.join(most)} and {last}"
