"""`benchmarks/decode.py`: a smoke run has all pairs, each at caches of the same rows."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_smoke_run_has_all_pairs(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "decode.py", "--smoke", "--layers", "6"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out.json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    rows = {(row["reduction"], row["padded"]): row for row in record["rows"]}
    assert set(rows) == {(n, p) for n in ("off", "merged", "aim") for p in (False, True)}
    for (name, _), row in rows.items():
        lengths = row["rows_by_layer"]
        assert len(lengths) == 6
        assert (lengths[0] > lengths[-1]) == (name == "aim")
        for clock in ("clock", "processor"):
            part = row[clock]
            assert 0 < part["low"] <= part["ratio"] <= part["high"]
    assert rows["merged", False]["rows_by_layer"][0] < rows["off", False]["rows_by_layer"][0]
    assert record["conditions"]["threads"] == 1
