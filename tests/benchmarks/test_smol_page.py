"""What docs/results.md says of foveate-smol is what its records say."""

import json
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from foveate.defaults import PRUNE
from foveate.registry import methods

ROOT = Path(__file__).parents[2]
WORDS = " ".join((ROOT / "docs" / "results.md").read_text().split())
FOVEA = " ".join((ROOT / "docs" / "concepts" / "fovea.md").read_text().split())
ROWS = json.loads((ROOT / "results" / "smol.json").read_text())["rows"]
CELLS = {(row["method"], row["budget"], row["task"]): row for row in ROWS}
TRAINING = json.loads((ROOT / "results" / "smol_training.json").read_text())
ANALYSIS = json.loads((ROOT / "results" / "smol_analysis.json").read_text())
SHARES = (0.5, 0.25, 0.125, 0.0625)
READ = ("reasoning", "video", "texture")
POOL = "average pooling"


@pytest.fixture(scope="module")
def tables():
    """`benchmarks/zoo_tables.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import zoo_tables

        yield zoo_tables


def right(name: str, share: float, *tasks: str) -> float:
    """Right answers, summed over tasks."""
    return sum(CELLS[name, share, task]["accuracy"] for task in tasks)


def test_every_method_was_measured_at_every_share_that_it_reaches():
    asked = {row["method"] for row in ROWS} - {"unreduced"}
    assert set(methods()) <= asked | {"resize"}
    assert {row["n"] for row in ROWS if row["task"] != "mean"} == {100}


def test_how_far_it_was_trained():
    assert "after 1,028 of its 1,200 steps" in WORDS
    lines = [line for line in TRAINING["log"] if line["stage"] == "join"]
    assert max(line["step"] for line in lines) == 1028
    assert TRAINING["recipe"]["join_steps"] == 1200
    assert "till then no word was learnt" in WORDS
    assert {line["val"]["ocr"] for line in lines if "val" in line} == {0}
    assert "read every validation word from it" in WORDS
    (*_, tower) = [line for line in TRAINING["log"] if line["stage"] == "tower"]
    assert tower["val"]["ocr"] == 1


def test_the_order_does_not_carry_over(tables):
    here, there = tables.mean_right("smol"), tables.mean_right("zoo")
    both = sorted(here.keys() & there.keys())
    found = spearmanr([here[name] for name in both], [there[name] for name in both])
    assert f"the rank correlation is {found.statistic:.2f}" in WORDS
    assert found.pvalue > 0.05


def test_pruning_is_not_free(tables):
    moved = {}
    for line in tables.smol_places().splitlines():
        if line.startswith("| `"):
            name, *_, places = line.strip("| ").split(" | ")
            moved[name.strip("`")] = int(places)
    assert "fall by ten places or more" in WORDS
    assert max(moved["fovea"], moved["aim"]) <= -10
    assert "the same without pruning, do not fall" in WORDS
    assert min(moved["fovea-merge"], moved["aim-merge"]) >= 0
    assert "costs this model a third of what it can do, or more" in WORDS
    for name in ("aim-prune", "vtw"):
        assert right(name, 0.5, *READ) < 2 / 3 * right("unreduced", 1.0, *READ)


def test_diversity_does_not_help_on_texture():
    assert "not distinguishable from average pooling there, at any share" in WORDS
    for name in ("fovea-merge", "divprune"):
        for share in SHARES:
            against = CELLS[name, share, "texture"]["against"]
            assert {f"not distinguishable from {POOL}"} == {
                found["verdict"] for found in against if found["baseline"] == "pool"
            }
    assert "a quarter costs every method 15 points or more" in WORDS
    whole = right("unreduced", 1.0, "texture")
    names = {name for name, share, _ in CELLS if share == 0.25}
    best = max(right(name, 0.25, "texture") for name in names)
    assert whole - best == pytest.approx(0.15)


def test_reasoning_and_clips_bear_it():
    assert "the best methods still give nine tenths of the right answers" in WORDS
    asked = ("reasoning", "video")
    names = {name for name, share, task in CELLS if share == 0.125 and task == "mean"}
    best = max(right(name, 0.125, *asked) for name in names)
    assert best / right("unreduced", 1.0, *asked) == pytest.approx(0.91, abs=0.02)


def test_where_fovea_fails(tables):
    assert "At every share `fovea` gives fewer right answers than `fovea-merge`" in FOVEA
    for share in SHARES:
        assert right("fovea", share, *READ) < right("fovea-merge", share, *READ)
    assert "at half of the tokens it is worse than resampling and than random tokens" in FOVEA
    against = CELLS["fovea", 0.5, "mean"]["against"]
    assert {"worse than resampled features", "worse than random tokens"} <= {
        found["verdict"] for found in against
    }
    assert "as the best method on average over reasoning, clips and texture" in FOVEA
    (best, *_) = [line for line in tables.smol().splitlines() if line.startswith("| `")]
    assert best.startswith("| `fovea-merge` ")
    assert "on texture alone it is not distinguishable from average pooling" in FOVEA


def test_till_where_it_reads_its_pictures():
    assert "It reads its pictures till layer 24 of 30" in WORDS
    assert ANALYSIS["layers"] == 30
    lost = {
        row["value"]: row["difference"] for row in ANALYSIS["tried"] if row["what"] == "drop after"
    }
    assert "any layer before that costs more than ten points" in WORDS
    assert all(lost[layer]["mean"] < -0.1 for layer in range(24))
    assert all(lost[layer]["high"] > 0 > lost[layer]["low"] for layer in range(24, 29))


def test_the_window_does_not_hold():
    assert "it gives 23 points fewer (8 to 40)" in WORDS
    (aim,) = [row for row in ANALYSIS["tried"] if row["value"] == "aim"]
    found = [round(-100 * aim["difference"][name]) for name in ("mean", "high", "low")]
    assert found == [23, 8, 40]
    assert "AIM's window starts at layer 15" in WORDS
    assert PRUNE[0] * ANALYSIS["layers"] == 15
    assert "`analyze` suggests none" in WORDS
    assert ANALYSIS["prune"] is None


def test_where_attention_falls():
    late = {name: ANALYSIS[f"{name}_mass"][12:] for name in ("first", "visual")}
    ends = [round(100 * end(late["first"])) for end in (min, max)]
    assert f"it gets {ends[0]} to {ends[1]} % of text's attention" in WORDS
    assert f"visual tokens {round(100 * max(late['visual']))} % at most" in WORDS
    assert f"gets {round(100 * max(ANALYSIS['peak_mass']))} % of what falls on all" in WORDS
