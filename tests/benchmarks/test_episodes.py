"""`benchmarks/episodes.py`: a run goes on where it was cut, and says what was held and remembered."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.episodes_order import LEAST, UNSEEN, Uses

ROOT = Path(__file__).parents[2]
KEPT, LAST = "fovea-merge 0.0625, everything kept", "unreduced, the last 2 screens alone"


def ask(folder, count):
    command = [sys.executable, "-m", "benchmarks.episodes", "--split", "val", "--questions", count]
    command += ["--records", folder / "said.jsonl", "--out", folder / "out.json"]
    done = subprocess.run(
        [*map(str, command), "--settings", KEPT, LAST], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "min left" in done.stderr
    return json.loads((folder / "out.json").read_text())["val"]


def test_a_run_that_was_cut_goes_on(tmp_path):
    assert ask(tmp_path, 1)["n"] == 1
    first = (tmp_path / "said.jsonl").read_text()
    (tmp_path / "said.jsonl").write_text(first + '{"setting": "cut')
    record = ask(tmp_path, 2)
    assert (tmp_path / "said.jsonl").read_text().startswith(first)
    assert record["n"] == 2
    few, last = record["rows"] if record["rows"][0]["setting"] == KEPT else record["rows"][::-1]
    assert few["visual_tokens"] < last["visual_tokens"] == 600
    for row in (few, last):
        assert row["kv_bytes"] > 4096 * row["visual_tokens"]  # text has rows, too
        assert list(row["families"]) == ["newest", "older", "again", "changed", "numbered"]
        assert 0 <= row["families"]["older"]["accuracy"] <= 1
    assert record["rows"][0]["families"]["older"]["to_unreduced"]["mean"] == 0
    assert record["conditions"]["threads"] == 1


@pytest.mark.parametrize(("name", "order"), [(LEAST, [2, 0, 1, 3]), (UNSEEN, [0, 2, 1, 3])])
def test_the_least_used_goes_first_and_the_newest_last(name, order):
    uses = Uses()
    for looks in ({}, {0: 0.5}, {0: 0.2, 1: 0.4}, {0: 0.1, 1: 0.6, 2: 0.1}):
        uses.now = dict(looks)
        uses.end_turn()
    assert uses.order(name, [0, 1, 2, 3]) == order
