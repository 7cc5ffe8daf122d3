"""Train or merge, on journals whose answers are known."""

from itertools import product
from typing import Any

import pytest

from benchmarks.study.answers import Answers
from benchmarks.study.cells import Cell
from benchmarks.study.cost import request_flops
from benchmarks.study.figure import plot
from benchmarks.study.summary import summarise
from benchmarks.study.trade import SIDES, trade

TASKS = ("reasoning", "ocr")
PARAMETERS = {"40k": 40448, "90k": 90624}
QUESTIONS = 200


def _hits(error: float) -> dict[str, list[int]]:
    return {task: [int(n >= error * QUESTIONS) for n in range(QUESTIONS)] for task in TASKS}


def answered(cell: Cell, error: float, val_error: float | None = None) -> Answers:
    """The same shares of wrong answers on both tasks."""
    shares = (error, error if val_error is None else val_error)
    right, val = (_hits(share) for share in shares)
    return Answers(cell, PARAMETERS[cell.size], right, val, 60)


def journal(trained: float, merged: float) -> list[Answers]:
    """At 4 tokens trained and merged models err so much, at 144 a tenth errs."""
    found = []
    for size, seed in product(PARAMETERS, (0, 1)):
        found.append(answered(Cell(size, "tokenpacker", 144, seed), 0.1))
        found.append(answered(Cell(size, "tokenpacker", 4, seed), trained))
        found.append(answered(Cell(size, "divprune", 4, seed), merged))
    return found


def of(rows: list[dict[str, Any]], counted: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["counted"] == counted]


@pytest.mark.parametrize(("trained", "merged", "sign"), [(0.2, 0.5, -1), (0.5, 0.2, 1)])
def test_at_the_flops_of_few_tokens_the_better_side_is_told(
    trained: float, merged: float, sign: int
) -> None:
    first = of(trade(journal(trained, merged)), "LLM")[0]
    assert (first["trained"]["tokens"], first["without"]["tokens"]) == (4, 4)
    assert first["difference"]["mean"] * sign == pytest.approx(0.3)
    assert first["difference"]["low"] * sign > 0


def test_nothing_costs_more_than_the_budget() -> None:
    rows = trade(journal(0.05, 0.08))
    assert {row["counted"] for row in rows} == {"whole request", "LLM"}
    for row, side in product(rows, SIDES):
        assert row[side]["flops"] <= row["budget"] + 1
    whole = of(rows, "whole request")
    assert whole[-1]["trained"]["flops"] == request_flops(Cell("40k", "tokenpacker", 4, 0))


def test_all_patches_are_neither_trained_nor_merged() -> None:
    """Where all patches are best and affordable, both sides take them and do not differ."""
    last = of(trade(journal(0.4, 0.5)), "LLM")[-1]
    assert last["trained"] == last["without"]
    assert last["trained"]["method"] is None
    assert last["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_the_test_split_chooses_nothing() -> None:
    answers = [
        answered(Cell("40k", "divprune", 4, 0), error=0.1, val_error=0.5),
        answered(Cell("40k", "fovea-merge", 4, 0), error=0.4, val_error=0.3),
        answered(Cell("40k", "tokenpacker", 4, 0), error=0.2),
    ]
    row = of(trade(answers), "LLM")[-1]
    assert row["without"]["method"] == "fovea-merge"
    assert row["without"]["error"] == 0.4


def test_one_side_alone_is_no_trade() -> None:
    assert trade([answered(Cell("40k", "tokenpacker", 4, 0), 0.2)]) == []


def test_the_figure_of_an_empty_journal_is_drawn() -> None:
    assert plot(summarise([])).startswith(b"\x89PNG")
