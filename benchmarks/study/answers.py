"""The journal read: what each cell answered right on the test split, and its error by task."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.compressors.features import TASKS
from benchmarks.study.cells import Cell
from benchmarks.study.sizes import SIZES
from foveate.laws.points import Points
from foveate.records.intervals import mean_over_runs


@dataclass(frozen=True)
class Answers:
    """What one trained model answered.

    Attributes:
        cell: the model.
        parameters: of its LLM, without embeddings.
        right: on the test split, task -> 1 for each right answer, 0 for each other, as they were asked.
        val: the same on the validation split.
        cpu_seconds: of its training.
    """

    cell: Cell
    parameters: int
    right: dict[str, list[int]]
    val: dict[str, list[int]]
    cpu_seconds: int

    def error(self, task: str) -> float:
        """Share of wrong answers."""
        return 1 - sum(self.right[task]) / len(self.right[task])


def read(rows: Iterable[dict[str, Any]]) -> list[Answers]:
    """Every cell of the journal once, the first where two processes made it, by size and counts."""
    found: dict[Cell, Answers] = {}
    for row in rows:
        if row["kind"] != "cell":
            continue
        cell = Cell(**{name: row[name] for name in Cell.__dataclass_fields__})
        right, val = (_by_task(row[split], cell) for split in ("test", "val"))
        found.setdefault(cell, Answers(cell, row["parameters"], right, val, row["cpu_seconds"]))
    order = list(SIZES)
    return sorted(
        found.values(),
        key=lambda one: (
            one.cell.frames or 0, one.cell.compressor, order.index(one.cell.size),
            one.cell.tokens, one.cell.seed,
        ),
    )  # fmt: skip


def _by_task(answers: str, cell: Cell) -> dict[str, list[int]]:
    hits = [int(answer) for answer in answers]
    if cell.frames is not None:
        return {"video": hits}
    return {task: hits[place :: len(TASKS)] for place, task in enumerate(TASKS)}


def table(answers: list[Answers]) -> list[tuple[Cell, dict[str, Any]]]:
    """A row for each model, its seeds together: the error of each task with its 95 % interval."""
    groups: dict[Cell, list[Answers]] = {}
    for one in answers:
        groups.setdefault(replace(one.cell, seed=0), []).append(one)
    rows = []
    for cell, runs in groups.items():
        row = {name: value for name, value in asdict(cell).items() if name != "seed"}
        row |= {"parameters": runs[0].parameters, "seeds": [one.cell.seed for one in runs]}
        row["cpu_seconds"] = round(sum(one.cpu_seconds for one in runs) / len(runs))
        for task in runs[0].right:
            wrong = [[1 - hit for hit in one.right[task]] for one in runs]
            row[task] = {k: round(v, 4) for k, v in asdict(mean_over_runs(wrong)).items()}
        rows.append((cell, row))
    return rows


def points(answers: list[Answers], task: str, compressor: str = "tokenpacker") -> Points:
    """What the law of a task is fitted to and tried on: a point for each seed of each model.

    Raises:
        InputError: there are too few.
    """
    mine = [one for one in answers if one.cell.compressor == compressor and task in one.right]
    return Points.of(
        [one.parameters / 1e9 for one in mine],
        [one.cell.tokens for one in mine],
        [one.error(task) for one in mine],
        [one.cell.frames for one in mine] if task == "video" else None,  # type: ignore[misc]
    )
