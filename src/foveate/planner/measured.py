"""What `foveate measure` found of a model: every method and setting, and how well it answered."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from foveate.cost.configs import config_of
from foveate.cost.request import Request, RequestCost
from foveate.cost.shapes import read_llm
from foveate.errors import InputError
from foveate.records.intervals import Difference, mean_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import RESIZE, Records, Setting, read
from foveate.records.summary import MEAN
from foveate.reduction import Reduction, at_share
from foveate.registry import method

RESIZING = (
    RESIZE,
    "resize-grid",
)  # the plain thing that a method must beat, the picture's own first
ENOUGH = 0.9  # of the questions that most settings answered: with fewer a setting is not chosen
Scores = Mapping[tuple[str, int], float]  # of each question, by task and number


@dataclass(frozen=True)
class Measured:
    """How well a model answered under one method at one setting.

    Attributes:
        task: what was asked, "mean" for the mean over all tasks.
        method: name of the method, "resize" where the pictures themselves were made smaller.
        share: mean share of visual tokens over the LLM's layers that was asked for.
        reduction: the method with its knobs; off for "resize".
        accuracy: mean score, in [0, 1].
        difference: of the accuracy to that of no reduction, paired, None if not measured.
        scores: of each question, for paired comparisons.
    """

    task: str
    method: str
    share: float
    reduction: Reduction
    accuracy: float
    difference: Difference | None = None
    scores: Scores = field(default_factory=dict, repr=False)

    @property
    def merit(self) -> float:
        """What settings are ranked by: the paired difference, for not all answer the same questions."""
        return self.accuracy if self.difference is None else self.difference.mean

    def cost(self, request: Request) -> RequestCost:
        """Cost of a request under this setting; a resized picture has fewer tokens to begin with."""
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


def read_measured(measured: Path | str | Sequence[Measured], model: Any = None) -> list[Measured]:
    """Every setting in a file of `foveate measure`, on each task and on their mean.

    A setting that cannot be made here (a method that is not registered, or one that its share makes with
    other knobs now) is left out, with a warning.

    Args:
        measured: the file; rows are handed on as they are.
        model: that is planned for, as in `plan_reduction`; None for any.

    Raises:
        InputError: not such a file, or one of another model.
    """
    if not isinstance(measured, Path | str):
        return list(measured)
    records = read(Path(measured))
    if model is not None:
        _check_model(records, model)
    made = _reductions(records)
    return [
        *(row for task in records.tasks for row in _rows(records, made, task, [task])),
        *_rows(records, made, MEAN, records.tasks),
    ]


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


def answered_enough(rows: Sequence[Measured]) -> list[Measured]:
    """The rows that answered nearly as many questions as any: others may be of a run under way."""
    most = max((len(row.scores) for row in rows), default=0)
    return [row for row in rows if len(row.scores) >= ENOUGH * most]


def pareto(rows: Iterable[tuple[float, Measured]]) -> list[tuple[float, Measured]]:
    """The (cost, setting) pairs that no cheaper or equal one answers as well, by rising cost."""
    best: list[tuple[float, Measured]] = []
    for cost, row in sorted(rows, key=lambda pair: (pair[0], -pair[1].merit)):
        if not best or row.merit > best[-1][1].merit:
            best.append((cost, row))
    return best


def _check_model(records: Records, model: Any) -> None:
    """Refuse the records of another model, as far as its config and its name tell."""
    config, start = config_of(model), records.starts[-1]
    here = {"layers": read_llm(config).layers, "family": getattr(config, "model_type", None)}
    name, measured = Path(str(model)).name, Path(str(start["model"])).name
    if isinstance(model, str) and name != measured:
        raise InputError(f"{records.path} is of {start['model']}, not of {model}; measure this one")
    for what, value in here.items():
        if value is not None and start[what] != value:
            raise InputError(
                f"{records.path} is of a model of {what} {start[what]}, this one has {value}; measure "
                "this one"
            )


def _rows(
    records: Records, made: Mapping[Setting, Reduction], task: str, tasks: Sequence[str]
) -> Iterator[Measured]:
    """A row for each setting that was answered on all of these tasks."""
    for setting, reduction in made.items():
        indices = {name: records.common(name, setting) for name in tasks}
        if not all(indices.values()):
            continue
        cells, pairs, scores = records.cells, [], {}
        for name, common in indices.items():
            mine = cells[name][setting].scores(common)
            pairs.append((cells[name][UNREDUCED, 1.0].scores(common), mine))
            scores |= {(name, n): score for n, score in zip(common, mine, strict=True)}
        accuracy = fmean(fmean(mine) for _, mine in pairs)
        yield Measured(task, *setting, reduction, accuracy, mean_difference(pairs), scores)


def _reductions(records: Records) -> dict[Setting, Reduction]:
    """The reduction of each setting that has one and can be made here."""
    made: dict[Setting, Reduction] = {}
    for setting, line in records.lines.items():
        if line["knobs"] is None:
            continue  # its share is out of the method's reach
        try:
            made[setting] = _reduction(records, setting, line)
        except InputError as error:
            name, share = setting
            warnings.warn(f"{records.path}: {name} at {share:g} is left out: {error}", stacklevel=4)
    return made


def _reduction(records: Records, setting: Setting, line: Mapping[str, Any]) -> Reduction:
    """The reduction that was measured: as it was written down, or made again from its share."""
    name, share = setting
    if name in (UNREDUCED, RESIZE):
        return Reduction()
    if line.get("reduction") is not None:
        return Reduction.from_dict(line["reduction"])
    made = at_share(method(name), share, records.starts[-1]["layers"])
    if repr(made) != line["knobs"]:
        raise InputError(f"it was {line['knobs']}, which now is {made!r}; measure it again")
    return made
