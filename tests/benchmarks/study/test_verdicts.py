"""Verdicts on journals whose law is known."""

from itertools import product

import numpy as np
import pytest

from benchmarks.study.answers import Answers, points, table
from benchmarks.study.cells import CLIP_COUNTS, CLIP_SIZES, COUNTS, FRAMES, Cell
from benchmarks.study.sizes import SIZES
from benchmarks.study.verdicts import Verdict, judge, verdicts
from foveate.records.intervals import Difference

PARAMETERS = dict(zip(SIZES, (40448, 91000, 214336, 601536, 1281920, 2335360), strict=True))
QUESTIONS = 1000


def answered(cell: Cell, errors: dict[str, float]) -> Answers:
    """Answers with such shares of wrong ones, wrong at the same questions in every model."""
    right = {}
    for task, error in errors.items():
        order = np.random.default_rng(5).permutation(QUESTIONS)
        right[task] = (order >= round(error * QUESTIONS)).astype(int).tolist()
    return Answers(cell, PARAMETERS[cell.size], right, right, 60)


def journal(alpha: float, beta: float, helped: float = 0.0, gamma: float = 0.0) -> list[Answers]:
    """Reasoning by a product law, ocr by the same with its exponents exchanged; both seeds alike."""
    found = []
    for size, tokens, seed in product(SIZES, COUNTS, (0, 1)):
        reasoning, ocr = (
            0.6 * (PARAMETERS[size] / 4e4) ** -a * tokens**-b
            for a, b in ((alpha, beta), (beta, alpha))
        )
        cell = Cell(size, "tokenpacker", tokens, seed)
        found.append(answered(cell, {"reasoning": reasoning, "ocr": ocr}))
        if tokens in (1, 4, 16):
            cell = Cell(size, "quecc", tokens, seed)
            found.append(answered(cell, {"reasoning": reasoning - helped, "ocr": ocr}))
        for name, worse in (("random", 0.2), ("divprune", helped)):
            cell, errors = Cell(size, name, tokens, seed), (reasoning + worse, ocr + worse)
            found.append(answered(cell, dict(zip(("reasoning", "ocr"), errors, strict=True))))
    for size, tokens, frames in product(CLIP_SIZES, CLIP_COUNTS, FRAMES):
        error = 0.6 * tokens**-beta * frames**-gamma
        found.append(answered(Cell(size, "tokenpacker", tokens, 0, frames), {"video": error}))
    return found


def told(answers: list[Answers]) -> dict[str, str]:
    """Claim -> verdict."""
    return {row["claim"]: row["verdict"] for row in verdicts(answers)}


def of(found: dict[str, str], *words: str) -> set[str]:
    """The verdicts on the claims that hold all of some words."""
    return {verdict for claim, verdict in found.items() if all(word in claim for word in words)}


def test_a_journal_as_the_paper_says_it_is() -> None:
    found = told(journal(0.15, 0.05, helped=0.03, gamma=0.3))
    assert of(found, "alpha / beta)") == {"holds"}
    assert of(found, "equal FLOPs", "fewer") == {"holds"}
    # with a question that is not cached the law itself wants about 7 tokens
    assert of(found, "equal FLOPs", "one token") != {"holds"}
    assert of(found, "ocr: at equal FLOPs") == {"holds"}
    assert of(found, "one token is best") == {"holds"}
    assert of(found, "beta Q") == {"holds"}
    assert of(found, "the question helps") == {"holds"}
    assert of(found, "more frames") == {"holds"}
    assert of(found, "errs less than divprune without") == {"holds"}
    assert of(found, "product law predicts") == {"holds"}


def test_a_journal_that_contradicts_it() -> None:
    found = told(journal(0.05, 0.15, helped=-0.03, gamma=0.01))
    assert of(found, "alpha / beta)") == {"fails"}
    assert of(found, "equal FLOPs") == {"fails"}
    assert of(found, "one token is best") == {"fails"}
    assert of(found, "the question helps") == {"fails"}
    assert of(found, "more frames") == {"fails"}
    assert of(found, "errs less than divprune without") == {"fails"}


def test_what_was_not_run_cannot_be_told() -> None:
    assert set(told([]).values()) == {"cannot tell"}


def test_the_held_out_size_is_not_fitted() -> None:
    """Where only the held-out size leaves the law, prediction fails and the exponents stay."""
    answers = [
        one if not SIZES[one.cell.size].is_held_out
        else answered(one.cell, {task: 1.5 * one.error(task) for task in one.right})
        for one in journal(0.15, 0.05)
    ]  # fmt: skip
    found = told(answers)
    assert of(found, "alpha / beta)") == {"holds"}
    assert of(found, "law predicts") == {"fails"}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.1, 1.2, "holds"), (0.9, 1.2, "cannot tell"), (2.1, 3.0, "fails")],
)
def test_an_interval_decides(low: float, high: float, verdict: str) -> None:
    found = judge("c", Difference(1.15, low, high), least=1.0, most=2.0)
    assert found == Verdict("c", verdict, 1.15, low, high, 1.0, 2.0)


def test_seeds_share_a_row_and_not_a_point() -> None:
    answers = [one for one in journal(0.15, 0.05) if one.cell.compressor == "tokenpacker"]
    answers = [one for one in answers if one.cell.size in ("40k", "90k") and not one.cell.frames]
    rows = [row for _, row in table(answers)]
    assert len(rows) == 2 * len(COUNTS)
    assert rows[0]["seeds"] == [0, 1]
    assert rows[0]["ocr"]["mean"] == pytest.approx(0.6, abs=1e-3)
    assert len(points(answers, "ocr").error) == 2 * len(rows)
