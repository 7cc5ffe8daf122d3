"""The summary's numbers against a slow, obvious count of the same rows."""

import random
from statistics import fmean

import pytest

from benchmarks.compressors.cell import COUNTS, RIVALS
from benchmarks.compressors.summary import summarise
from foveate.errors import InputError
from foveate.records.intervals import mean_over_runs, paired_difference

FAMILIES = ["colour", "number", "digit", "word", "count", "word_unseen", "top", "number"] * 10
RECIPE = {"steps": 5}


def cell(rival, tokens, seed, **more):
    drawn = random.Random(f"{rival} {tokens} {seed}")
    answers = "".join(drawn.choice("011") for _ in FAMILIES)
    row = {"rival": rival, "tokens": tokens, "seed": seed, "recipe": RECIPE, "cpu_seconds": seed}
    return row | {"test": answers, "val": "", "conditions": {"cpu": "c"}} | more


@pytest.fixture
def rows():
    cells = [cell(name, 1, seed) for name in ("quecc", "average-pool") for seed in (0, 1)]
    old = cell("quecc", 4, 0, recipe={"steps": 4})
    return [{"asked": {"val": [], "test": FAMILIES}}, *cells, cell("quecc", 1, 2), old]


def slow_mean(rows, rival, families, seeds):
    hits = []
    for row in rows[1:]:
        if row["rival"] == rival and row["recipe"] == RECIPE and row["seed"] in seeds:
            for family, answer in zip(FAMILIES, row["test"], strict=True):
                if family in families:
                    hits.append(int(answer))
    return fmean(hits)


KINDS = {
    "lookups": {"colour", "digit"},
    "ocr": {"number", "word", "word_unseen"},
    "reasoning": {"colour", "digit", "count", "top"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_means_over_seeds_and_questions(rows, kind):
    found = {(r["rival"], r["tokens"]): r for r in summarise(rows, RECIPE)["rows"]}
    for name, seeds in (("quecc", [0, 1, 2]), ("average-pool", [0, 1])):
        row = found[name, 1]
        expected = slow_mean(rows, name, KINDS[kind], seeds)
        assert row["seeds"] == seeds
        assert row["cpu_seconds"] == fmean(seeds)
        assert row[kind]["mean"] == pytest.approx(expected, abs=1e-4)
        assert row[kind]["low"] < expected < row[kind]["high"]


@pytest.mark.parametrize("kind", KINDS)
def test_differences_are_paired_over_the_seeds_of_both(rows, kind):
    found = summarise(rows, RECIPE)["differences"]
    (row,) = [r for r in found if (r["of"], r["to"], r["tokens"]) == ("quecc", "average-pool", 1)]
    ours, theirs = (
        slow_mean(rows, name, KINDS[kind], [0, 1]) for name in ("quecc", "average-pool")
    )
    assert row[kind]["mean"] == pytest.approx(ours - theirs, abs=2e-4)


def test_cells_not_run_are_null(rows):
    found = summarise(rows, RECIPE)
    assert len(found["rows"]) == len(RIVALS) * len(COUNTS)
    held = [(r["rival"], r["tokens"]) for r in found["rows"] if r["lookups"] is not None]
    assert sorted(held) == [("average-pool", 1), ("quecc", 1)]  # the older recipe does not count
    for row in found["rows"]:
        assert (row["seeds"] == []) == (row["ocr"] is None) == (row["cpu_seconds"] is None)


def test_one_run_has_the_interval_of_its_samples():
    scores = [1.0, 0.0, 0.0, 1.0] * 50
    alone, plain = mean_over_runs([scores]), paired_difference([0.0] * 200, scores)
    assert alone.mean == plain.mean == 0.5
    assert alone.low == pytest.approx(plain.low, abs=0.02)
    assert alone.high == pytest.approx(plain.high, abs=0.02)


def test_the_luck_of_runs_widens_the_interval():
    good, bad = [1.0] * 100, [0.0] * 100
    assert mean_over_runs([good, good]).low == 1.0
    both = mean_over_runs([good, bad])
    assert (both.mean, both.low, both.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("runs", [[], [[]], [[1], [1, 0]]])
def test_runs_that_do_not_match_are_refused(runs):
    with pytest.raises(InputError, match="equally many"):
        mean_over_runs(runs)
