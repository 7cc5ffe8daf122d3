"""What `foveate measure` found of a model: every method and setting, and how well it answered."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveate.cost.request import Request, RequestCost
from foveate.errors import InputError
from foveate.records.intervals import Difference, mean_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import RESIZE, Records, Setting, read
from foveate.records.summary import MEAN, Row, summary_of
from foveate.reduction import Reduction, at_share
from foveate.registry import method

RESIZING = (
    RESIZE,
    "resize-grid",
)  # the plain thing that a method must beat, the picture's own first


@dataclass(frozen=True)
class Measured:
    """How well a model answered under one method at one setting.

    Attributes:
        task: what was asked, "mean" for the mean over all tasks that were.
        method: name of the method, "resize" where the pictures themselves were made smaller.
        share: mean share of visual tokens over the LLM's layers that was asked for.
        reduction: the method with its knobs; off for "resize".
        accuracy: mean score, in [0, 1].
        difference: of the accuracy to that of no reduction, paired, None if not measured.
        scores: of each question, by task and number, for paired comparisons.
    """

    task: str
    method: str
    share: float
    reduction: Reduction
    accuracy: float
    difference: Difference | None = None
    scores: Mapping[tuple[str, int], float] = field(default_factory=dict, repr=False)

    def cost(self, request: Request) -> RequestCost:
        """Of a request under this setting; a resized picture has fewer tokens to begin with."""
        if self.method == RESIZE:
            return request.resized(self.share).cost()
        return request.cost(self.reduction)

    def against(self, other: "Measured") -> Difference | None:
        """How much better this setting answered the questions that both did, None if there are none."""
        common = self.scores.keys() & other.scores.keys()
        pairs = []
        for task in sorted({task for task, _ in common}):
            keys = sorted(key for key in common if key[0] == task)
            pairs.append(([other.scores[k] for k in keys], [self.scores[k] for k in keys]))
        return mean_difference(pairs) if pairs else None


def read_measured(
    measured: Path | str | Sequence[Measured], layers: int | None = None
) -> list[Measured]:
    """Every setting in a file of `foveate measure`, on each task and on their mean.

    Args:
        measured: the file; rows are handed on as they are.
        layers: of the LLM that is planned for, None for any.

    Raises:
        InputError: not such a file, one of another depth, or of a method that is not known here or makes
            another setting now.
    """
    if not isinstance(measured, Path | str):
        return list(measured)
    records = read(Path(measured))
    depth = records.starts[-1]["layers"]
    if layers not in (None, depth):
        raise InputError(
            f"{measured} is of an LLM of {depth} layers, this one has {layers}; measure this one"
        )
    return list(_rows(records, depth))


def of_task(rows: Sequence[Measured], task: str) -> list[Measured]:
    """The rows to plan a task by: its own, or, where no such task was measured, the mean over all.

    Raises:
        InputError: another kind of question was measured, or nothing; the message lists what was.
    """
    own = [row for row in rows if row.task == task]
    if own:
        return own
    known = {row.task for row in rows} - {MEAN}
    if known & {"reasoning", "ocr"} or not rows:
        answered = ", ".join(sorted(known)) or "no task"
        raise InputError(f"nothing was measured on {task!r}; there are answers on {answered}")
    return [row for row in rows if row.task == MEAN]


def pareto(rows: Iterable[tuple[float, Measured]]) -> list[tuple[float, Measured]]:
    """The (cost, setting) pairs that no cheaper or equal one answers as well, by rising cost."""
    best: list[tuple[float, Measured]] = []
    for cost, row in sorted(rows, key=lambda pair: (pair[0], -pair[1].accuracy)):
        if not best or row.accuracy > best[-1][1].accuracy:
            best.append((cost, row))
    return best


def _rows(records: Records, layers: int) -> Iterable[Measured]:
    summary = summary_of(records)
    reductions = {setting: _reduction(records, setting, layers) for setting in records.settings()}
    for row in (*summary.overall, *(row for rows in summary.by_task.values() for row in rows)):
        setting = row.method, row.budget
        scores = _scores(records, row, setting)
        yield Measured(
            row.task, *setting, reductions[setting], row.accuracy, row.difference, scores
        )


def _scores(records: Records, row: Row, setting: Setting) -> dict[tuple[str, int], float]:
    tasks = records.tasks if row.task == MEAN else [row.task]
    return {
        (task, index): records.cells[task][setting].answers[index]["score"]
        for task in tasks
        for index in records.common(task, setting)
    }


def _reduction(records: Records, setting: Setting, layers: int) -> Reduction:
    """The reduction that was measured: as it was written down, or made again from its share."""
    name, share = setting
    line: dict[str, Any] = records.lines[setting]
    if name in (UNREDUCED, RESIZE):
        return Reduction()
    if line.get("reduction") is not None:
        return Reduction.from_dict(line["reduction"])
    made = at_share(method(name), share, layers)
    if repr(made) != line["knobs"]:
        raise InputError(
            f"{records.path} measured {name} at {share:g} as {line['knobs']}, which now is {made!r}; "
            "measure it again"
        )
    return made
