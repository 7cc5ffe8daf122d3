"""Measured points that a law is fitted to: model size, visual tokens, error."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from foveate.errors import InputError

Number = float | int
FAMILIES = (
    "reasoning",
    "ocr",
)  # published with arXiv 2411.03312; each file says where its source disagrees with itself


@dataclass(frozen=True)
class Points:
    """Equally many sizes, token counts and errors.

    Attributes:
        params_b: LLM parameters in billions.
        tokens: what the law takes for T.
        error: 1 - score, in [0, 1].
    """

    params_b: tuple[float, ...]
    tokens: tuple[float, ...]
    error: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.params_b), len(self.tokens), len(self.error)}
        if len(lengths) != 1 or not len(self.error):
            raise InputError(
                "params_b, visual_tokens and error must be equally many and at least 1, got "
                f"{len(self.params_b)}, {len(self.tokens)} and {len(self.error)}"
            )
        for name, values in (("params_b", self.params_b), ("visual_tokens", self.tokens)):
            bad = [value for value in values if not (math.isfinite(value) and value > 0)]
            if bad:
                raise InputError(f"{name} must be finite and above 0, got {bad[0]}")
        bad = [value for value in self.error if not 0 <= value <= 1]  # also true of NaN
        if bad:
            raise InputError(
                f"error must be in [0, 1], got {bad[0]}; a percentage is divided by 100"
            )
        for name, values in (("model sizes", self.params_b), ("token counts", self.tokens)):
            if len(set(values)) < 2:
                raise InputError(
                    f"a law needs at least 2 {name}, got only {values[0]:g}: its effect could not be told"
                )

    @classmethod
    def of(
        cls, params_b: Iterable[Number], tokens: Iterable[Number], error: Iterable[Number]
    ) -> "Points":
        """From any sequences of numbers."""
        return cls(
            *(tuple(float(value) for value in column) for column in (params_b, tokens, error))
        )

    @property
    def distinct(self) -> int:
        """Different (size, tokens) pairs: repeats add precision, not parameters."""
        return len(set(zip(self.params_b, self.tokens, strict=True)))

    def where(self, kept: Sequence[bool]) -> "Points":
        """The points at which `kept` is true."""
        rows = zip(self.params_b, self.tokens, self.error, kept, strict=True)
        chosen = [row[:3] for row in rows if row[3]]
        return Points.of(*(zip(*chosen, strict=True) if chosen else ((), (), ())))

    def more_tokens(self, added: float) -> "Points":
        """The same with `added` text tokens in every count."""
        return Points(self.params_b, tuple(count + added for count in self.tokens), self.error)


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
    """Points of a CSV file: params_b, visual_tokens, and error or score; `#` begins a comment.

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
    sizes, counts, errors = [], [], []
    for number, row in enumerate(rows, 1):
        try:
            sizes.append(float(row["params_b"]))
            counts.append(float(row["visual_tokens"]))
            errors.append(float(row["error"]) if "error" in columns else 1 - float(row["score"]))
        except (TypeError, ValueError):
            raise InputError(
                f"{name}, row {number}: a cell is missing or not a number: {row}"
            ) from None
    return Points.of(sizes, counts, errors)
