"""VTC-Bench's protocol: resizing separates questions that need their tokens from those that do not.

Source: VTC-Bench (arXiv 2510.07143). Of the questions that the unreduced model answers right, those that
it also answers right on a picture resized to the share are easy (the paper: simple): they say little
about a method. The others are hard (the paper: difficult): there resizing scores 0 and the unreduced
model 1. If no picture can be resized to a share, features resampled to it after the encoder
(`resize-grid`) stand in, which departs from the paper: the encoder has then seen the whole picture.
"""

from dataclasses import dataclass
from typing import Any

from foveate.records.journal import UNREDUCED
from foveate.records.read import Records, Setting

# the first of these that was measured at a share separates hard from easy
RESIZING = ("resize", "resize-grid")


@dataclass(frozen=True)
class Split:
    """A setting on the two groups of a task, or of all tasks together.

    Attributes:
        task: its name, "all" for all.
        method: name.
        budget: the share, of the method and of the resizing.
        by: what separated them, one of `RESIZING`.
        hard: questions that resizing gets wrong and the unreduced model right.
        hard_accuracy: accuracy on them, None if there are none.
        easy: questions that both get right.
        easy_accuracy: accuracy on them.
    """

    task: str
    method: str
    budget: float
    by: str
    hard: int
    hard_accuracy: float | None
    easy: int
    easy_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def splits(records: Records, settings: list[Setting]) -> list[Split]:
    """Every setting at a share at which resizing was measured, by task and on all tasks together."""
    rows = []
    for method, budget in settings:
        by = next((name for name in RESIZING if (name, budget) in settings), None)
        if by is None or method in (UNREDUCED, by):
            continue
        groups = {task: _groups(records, task, (method, budget), by) for task in records.tasks}
        groups["all"] = (
            [score for hard, _ in groups.values() for score in hard],
            [score for _, easy in groups.values() for score in easy],
        )
        for task, (hard, easy) in groups.items():
            rows.append(
                Split(task, method, budget, by, len(hard), _mean(hard), len(easy), _mean(easy))
            )
    return rows


def _groups(
    records: Records, task: str, setting: Setting, by: str
) -> tuple[list[float], list[float]]:
    """Scores of the hard and of the easy questions."""
    plain = (by, setting[1])
    cells = records.cells[task]
    hard: list[float] = []
    easy: list[float] = []
    for index in records.common(task, setting, plain):
        if cells[UNREDUCED, 1.0].answers[index]["score"] == 1:
            group = easy if cells[plain].answers[index]["score"] == 1 else hard
            group.append(cells[setting].answers[index]["score"])
    return hard, easy


def _mean(scores: list[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None
