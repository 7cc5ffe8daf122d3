"""What docs/study.md says in words is what the study does and found."""

import json
import re
from itertools import product
from pathlib import Path

import pytest

from benchmarks.study.cells import COMPRESSORS, COUNTS, TRAINING_FREE, Cell
from benchmarks.study.clips import CLIPS, LENGTH
from benchmarks.study.cost import request_flops
from benchmarks.study.pictures import FEWEST, MOST, PATCHES, PICTURES
from benchmarks.study.sizes import SIZES, fresh, parameters
from foveate.planner.advice import MERGED_BETTER, OF, TRAINED_BETTER

ROOT = Path(__file__).parents[3]
PAGE, RESULTS = ROOT / "docs" / "study.md", ROOT / "results" / "study.json"
WORDS = {2: "two", 3: "three", 5: "five", 6: "six", 16: "sixteen"}


@pytest.fixture(scope="module")
def page() -> str:
    """Its words, on one line."""
    return re.sub(r"\s+", " ", PAGE.read_text())


def listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


def test_what_was_trained(page: str, mini) -> None:
    sizes = [parameters(fresh(size, mini, 0).model.language_model) for size in SIZES.values()]
    assert f"{WORDS[len(SIZES)].title()} language models from" in page
    assert f"from {round(sizes[0], -4):,} to {sizes[-1] / 1e6:.1f} million parameters" in page
    assert f"for {listed(COUNTS)} visual tokens by TokenPacker" in page
    assert f"for {listed(COMPRESSORS['quecc'])} by QueCC" in page
    assert f"{', '.join(TRAINING_FREE[:-1])} and {TRAINING_FREE[-1]} reduce the {PATCHES}" in page


def test_what_was_shown(page: str) -> None:
    train, val, test = (f"{PICTURES[split]:,}" for split in ("train", "val", "test"))
    assert f"{train} pictures to train on, {val} to validate, {test} to test" in page
    train, val, test = (f"{CLIPS[split]:,}" for split in ("train", "val", "test"))
    assert f"of clips {train}, {val} and {test} of {WORDS[LENGTH]} frames" in page
    assert f"{WORDS[FEWEST]} to {WORDS[MOST]} coloured digits" in page


def test_what_a_request_costs(page: str) -> None:
    def flops(size: str, name: str, tokens: int) -> int:
        return request_flops(Cell(size, name, tokens, 0))

    assert "the two smallest LLMs pay more for compressing than they save" in page
    dear = [
        size
        for size in SIZES
        if all(flops(size, "tokenpacker", n) > flops(size, "tokenpacker", 144) for n in COUNTS[:-1])
    ]
    assert dear == list(SIZES)[:2]

    assert "TokenPacker takes a fifth of what the encoder takes" in page
    drawn, packed = flops("40k", "random", 1), flops("40k", "tokenpacker", 1)
    assert (packed - drawn) / drawn == pytest.approx(0.2, abs=0.02)

    assert "most of a request here, but for the two largest LLMs with all patches" in page
    mostly_llm = [
        (size, n)
        for size, n in product(SIZES, COUNTS)
        if flops(size, "tokenpacker", n) > 2 * (drawn if n == PATCHES else packed)
    ]
    assert mostly_llm == [(size, 144) for size in list(SIZES)[-2:]]


def errors(task: str, compressor: str, tokens: int) -> dict[str, float]:
    """By size, of every one that was run."""
    cells = json.loads(RESULTS.read_text())["cells"]
    asked = (compressor, tokens, None)
    return {
        cell["size"]: cell[task]["mean"]
        for cell in cells
        if (cell["compressor"], cell["tokens"], cell["frames"]) == asked
    }


def test_what_it_says_of_errors(page: str) -> None:
    assert "With 4 tokens every size errs in less than three questions of ten" in page
    assert max(errors("reasoning", "tokenpacker", 4).values()) < 0.3
    assert "and with one in more than half of them" in page
    one = errors("reasoning", "tokenpacker", 1)
    assert min(one.values()) > 0.5

    assert "QueCC, which sees the question, errs less than half as often as TokenPacker" in page
    asked = errors("reasoning", "quecc", 1)
    assert asked
    assert all(error < one[size] / 2 for size, error in asked.items())

    assert "With 16 tokens or fewer every size errs in more than eight questions of ten" in page
    assert "the sizes differ by less than seven points" in page
    for tokens in (1, 4, 9, 16):
        read = errors("ocr", "tokenpacker", tokens).values()
        assert min(read) > 0.8
        assert max(read) - min(read) < 0.07
    assert f"the largest errs in {100 * errors('ocr', 'tokenpacker', 144)['2.3M']:.0f} %" in page

    assert "two largest LLMs err in about 15 % with the 36 patches that `fovea-merge` keeps" in page
    assert "in about 40 % with 36 tokens of a TokenPacker" in page
    chosen, learned = (errors("ocr", name, 36) for name in ("fovea-merge", "tokenpacker"))
    for size in list(SIZES)[-2:]:
        assert chosen[size] == pytest.approx(0.15, abs=0.01)
        assert learned[size] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("sentence", "claim", "verdict"),
    [
        ("the smaller LLM with more tokens reads better", "ocr: at equal FLOPs", "holds"),
        ("with a single token it errs more", "at equal FLOPs the larger LLM with one", "fails"),
        ("errs less if it keeps 4 or more", "at equal FLOPs the larger LLM with 4", "holds"),
        ("No law predicts the held-out size", "predicts the held-out size", "fails"),
        ("More frames beat more tokens a frame", "more frames err less", "holds"),
    ],
)
def test_what_it_says_of_claims(page: str, sentence: str, claim: str, verdict: str) -> None:
    assert sentence in page
    rows = json.loads(RESULTS.read_text())["verdicts"]
    assert {row["verdict"] for row in rows if claim in row["claim"]} == {verdict}


def test_what_it_says_of_frames(page: str) -> None:
    found = json.loads(RESULTS.read_text())
    gap = next(row["value"] for row in found["verdicts"] if "more frames err less" in row["claim"])
    assert "by two points where both have equally many tokens in all" in page
    assert f"{-100 * gap:.0f}" == "2"
    assert "At the same tokens a frame the most frames err less than two, in every row" in page
    rows: dict[tuple[str, int], dict[int, float]] = {}
    for cell in found["cells"]:
        if cell["frames"] is not None:
            row = rows.setdefault((cell["size"], cell["tokens"]), {})
            row[cell["frames"]] = cell["video"]["mean"]
    assert len(rows) == 9
    assert all(row[max(row)] < row[2] for row in rows.values())


def test_the_advice_is_that_of_plan(page: str) -> None:
    assert "keep more than a quarter of the tokens. To read, keep the tokens;" in page
    assert max(TRAINED_BETTER["reasoning"]) == OF // 4
    assert "ocr" not in TRAINED_BETTER
    assert "`fovea-merge`, without training" in page
    assert f"with {' or '.join(map(str, MERGED_BETTER['ocr']))} tokens it reads more" in page
