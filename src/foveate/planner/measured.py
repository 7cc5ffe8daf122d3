"""Measured accuracies of settings, and what of them is worth choosing."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foveate.cost.request import Prune
from foveate.errors import InputError

SETTING = re.compile(r"keep=([0-9.]+), prune=(?:(off)|\(([0-9.]+), ([0-9.]+)\))")


@dataclass(frozen=True)
class Measured:
    """How well a model answered with these knobs.

    Attributes:
        task: family of questions.
        keep: share of visual tokens that reached the LLM.
        prune: start and stop of pruning, None for none.
        accuracy: in [0, 1].
        low: lower end of the 95 % interval of its difference to no reduction, None if not measured.
    """

    task: str
    keep: float
    prune: Prune | None
    accuracy: float
    low: float | None = None


def read_measured(path: Path) -> list[Measured]:
    """The rows of a file that `benchmarks/accuracy.py` wrote.

    Raises:
        InputError: no such file, or not of that form.
    """
    try:
        rows = json.loads(path.read_text())["rows"]
        return [_row(row) for row in rows]
    except OSError as error:
        raise InputError(f"cannot read the accuracies of {path}: {error}") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path} must hold rows with task, setting (keep=0.5, prune=off) and accuracy: {error}"
        ) from None


def pareto(rows: Iterable[tuple[float, Measured]]) -> list[tuple[float, Measured]]:
    """The (cost, setting) pairs that no cheaper or equal one answers as well, by rising cost."""
    best: list[tuple[float, Measured]] = []
    for cost, row in sorted(rows, key=lambda pair: (pair[0], -pair[1].accuracy)):
        if not best or row.accuracy > best[-1][1].accuracy:
            best.append((cost, row))
    return best


def _row(row: dict) -> Measured:
    found = SETTING.fullmatch(row["setting"])
    if found is None:
        raise InputError(
            f"a setting is written keep=0.5, prune=(0.5, 0.786) or off, got {row['setting']!r}"
        )
    keep, off, *bounds = found.groups()
    prune = None
    if not off:
        start, stop = (float(bound) if "." in bound else int(bound) for bound in bounds)
        prune = (start, stop)
    accuracy = float(row["accuracy"])
    if not 0 <= accuracy <= 1:
        raise InputError(f"accuracy must be in [0, 1], got {accuracy}")
    return Measured(
        row["task"], float(keep), prune, accuracy, (row.get("difference") or {}).get("low")
    )
