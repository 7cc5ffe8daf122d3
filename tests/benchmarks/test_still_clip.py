"""`benchmarks/still_clip.py`: most of its clip is still, and reusing it is what the record is about."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_small_run_writes_its_record(tmp_path):
    command = [sys.executable, BENCHMARKS / "still_clip.py", "--shape", "onevision-smoke"]
    command += ["--rounds", "1", "--frames", "4", "--threads", "1", "--dtype", "fp32"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out.json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    rows = {row["condition"]: row for row in record["rows"]}
    assert list(rows) == ["unreduced", "aim", "reuse", "aim, reuse"]
    assert 0.05 < rows["reuse"]["changed"] < 0.2
    assert rows["unreduced"]["measured"] == rows["unreduced"]["counted"] == 1
    assert rows["aim, reuse"]["counted"] > rows["aim"]["counted"] > 1
    assert all(row["first_token_ms"] > 0 for row in rows.values())
