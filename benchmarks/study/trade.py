"""Train or merge? At equal FLOPs, the best of the trained models against the best without training.

Both may take any LLM of the study, and all patches: what is compared is what a budget buys. Which one is
best is decided on the validation split.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.study.answers import Answers
from benchmarks.study.cells import COMPRESSORS, TRAINING_FREE, Cell
from benchmarks.study.cost import QUERY_TOKENS, request_flops
from benchmarks.study.pictures import PATCHES
from foveate.records.intervals import Difference, mean_over_runs

BUDGETS = 8
SIDES = {"trained": tuple(COMPRESSORS), "without": TRAINING_FREE}
Cost = Callable[[Answers], float]
Runs = dict[int, Answers]  # seed -> answers


def whole_request(one: Answers) -> float:
    """FLOPs of encoder, compressor or merging, and LLM."""
    return request_flops(one.cell)


def llm_alone(one: Answers) -> float:
    """FLOPs `2 N (Q + V)`, the axis of arXiv 2411.03312."""
    return 2.0 * one.parameters * (QUERY_TOKENS + one.cell.tokens)


COUNTED: dict[str, Cost] = {"whole request": whole_request, "LLM": llm_alone}


def trade(answers: Iterable[Answers]) -> list[dict[str, Any]]:
    """A row for each task, way of counting and budget; none where one side has no models yet."""
    groups = _groups(answers)
    rows = []
    for counted, cost in COUNTED.items():
        priced = [(cost(next(iter(runs.values()))), cell, runs) for cell, runs in groups.items()]
        sides = [[one for one in priced if _is_on(one[1], names)] for names in SIDES.values()]
        if not all(sides):
            continue
        for task in ("reasoning", "ocr"):
            for budget in _ladder(sides):
                chosen = [_best(side, budget, task) for side in sides]
                rows.append(_row(task, counted, budget, chosen))
    return rows


def _groups(answers: Iterable[Answers]) -> dict[Cell, Runs]:
    """The seeds of each model of pictures."""
    groups: dict[Cell, Runs] = {}
    for one in answers:
        if one.cell.frames is None:
            cell = Cell(one.cell.size, one.cell.compressor, one.cell.tokens, seed=0)
            groups.setdefault(cell, {})[one.cell.seed] = one
    return groups


def _is_on(cell: Cell, names: tuple[str, ...]) -> bool:
    return cell.tokens == PATCHES or cell.compressor in names


def _ladder(sides: list[list[tuple[float, Cell, Runs]]]) -> list[float]:
    """Budgets at even ratios, from where both sides have a model to where all are affordable."""
    least = max(min(cost for cost, *_ in side) for side in sides)
    most = max(cost for side in sides for cost, *_ in side)
    return np.geomspace(least, most, BUDGETS).tolist()


def _best(
    side: list[tuple[float, Cell, Runs]], budget: float, task: str
) -> tuple[float, Cell, Runs]:
    """What is right most often on the validation split, of what costs no more."""
    affordable = [one for one in side if one[0] <= budget * (1 + 1e-9)]
    return max(affordable, key=lambda one: fmean(fmean(run.val[task]) for run in one[2].values()))


def _row(
    task: str, counted: str, budget: float, chosen: list[tuple[float, Cell, Runs]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "counted": counted, "budget": round(budget)}
    for name, (cost, cell, runs) in zip(SIDES, chosen, strict=True):
        error = round(fmean(run.error(task) for run in runs.values()), 4)
        method = None if cell.tokens == PATCHES else cell.compressor
        row[name] = {"size": cell.size, "method": method, "tokens": cell.tokens}
        row[name] |= {"flops": round(cost), "error": error, "seeds": sorted(runs)}
    (_, _, trained), (_, _, without) = chosen
    row["difference"] = _difference(trained, without, task)
    return row


def _difference(trained: Runs, without: Runs, task: str) -> dict[str, float] | None:
    """Error of the trained less that without training, on the seeds that both have."""
    runs = [
        [b - a for a, b in zip(trained[seed].right[task], without[seed].right[task], strict=True)]
        for seed in sorted(trained.keys() & without.keys())
    ]
    if not runs:
        return None
    found: Difference = mean_over_runs(runs)
    return {name: round(value, 4) for name, value in asdict(found).items()}
