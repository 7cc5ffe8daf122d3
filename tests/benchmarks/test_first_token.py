"""`benchmarks/first_token.py`: a smoke run has all stages, goes on after a kill, and sums up right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import foveate

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STAGES = {"encode", "compress", "score", "prefill", "decode"}


def run(folder, *more):
    command = [sys.executable, BENCHMARKS / "first_token.py", "--smoke", "--threads", "1"]
    command += ["--journal", folder / "j.jsonl", "--out", folder / "out.json", "--commit", "abc"]
    done = subprocess.run([*command, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_a_smoke_run_has_all_stages_and_goes_on_after_a_kill(tmp_path):
    few = ("--conditions", "without foveate", "unreduced", "aim")
    out = run(tmp_path, *few)
    record = json.loads((tmp_path / "out.json").read_text())
    assert {row["condition"] for row in record["rows"]} == set(few[1:])
    assert {row["shape"] for row in record["rows"]} == {"onevision-smoke", "qwen2.5-vl-smoke"}
    for row in record["rows"]:
        assert row["first_token_ms"] > 0
        assert row["tokens_per_second"] > 0
        assert row["pays"] == "too few rounds"
        if row["condition"] != "without foveate":
            assert set(row["stages_ms"]) == set(row["shares"]) == STAGES
            assert sum(row["shares"].values()) == pytest.approx(1)
    aim = next(r for r in record["rows"] if (r["condition"], r["frames"]) == ("aim", 4))
    assert aim["visual_tokens_by_layer"] == [197, 197, 197, 197, 98, 0]
    assert aim["analytic"] > 1
    assert all(aim["stages_ms"][name] > 0 for name in STAGES)
    (here,) = record["conditions"]
    assert here["commit"] == "abc"
    assert "24/24 qwen2.5-vl-smoke, 4 frames, aim" in out.stderr
    journal = tmp_path / "j.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:-1], lines[-1][:40]]))  # as a kill leaves it
    assert "1/1 qwen2.5-vl-smoke, 4 frames, aim" in run(tmp_path, *few).stderr
    assert len(journal.read_text().splitlines()) == len(lines)


@pytest.fixture
def summary(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import first_token_summary

    return first_token_summary


CHOICES = {
    "unreduced": lambda layers: foveate.Reduction(),
    "aim": lambda layers: foveate.AIM(),
}


def row(number, condition, prefill, decode=0.4, **more):
    stages = {"encode": 1.0, "compress": 0.0, "score": 0.0, "prefill": prefill, "decode": decode}
    return {
        "shape": "onevision-7b", "layers": None, "frames": 8, "round": number,
        "condition": condition, "device": "cuda", "dtype": "bf16", "attention": "sdpa",
        "first_token": 1.5 + prefill, "tokens": 5, "decode": decode, "peak_bytes": 10**9,
        "stages": stages, "tokens_by_layer": [1], "conditions": {"gpu": "NVIDIA H100 80GB HBM3"},
    } | more  # fmt: skip


def test_ratios_are_paired_and_break_even_is_told(summary):
    rows = [row(n, "unreduced", 2.0 + n) for n in range(6)]
    rows += [row(n, "aim", (2.0 + n) / 2) for n in range(6)]
    base, aim = summary.summarise(rows, CHOICES)["rows"]
    assert base["first_token_ms"] == pytest.approx(1000 * (1.5 + 5))  # round 0 is the warm-up
    assert aim["rounds"] == 5
    assert aim["lowest"] == pytest.approx(4.5 / 3)
    assert aim["pays"] == "yes"
    assert aim["pays_from_token"] == 1
    assert aim["tokens_per_second"] == pytest.approx(10)
    assert aim["roofline"] > 1
    slower = [row(n, "unreduced", 2.0) for n in range(6)]
    slower += [row(n, "aim", 2.25, decode=0.2) for n in range(6)]
    _, aim = summary.summarise(slower, CHOICES)["rows"]
    assert aim["pays"] == "no"
    assert aim["pays_from_token"] == 6  # 5 tokens, each 0.05 s sooner, make up for 0.25 s
    never = [row(n, name, 2.0 + (name == "aim")) for n in range(6) for name in CHOICES]
    assert summary.summarise(never, CHOICES)["rows"][1]["pays_from_token"] is None


def test_what_was_cut_is_scaled_stage_by_stage(summary):
    rows = [row(n, name, 2.0, layers=6) for n in range(6) for name in CHOICES]
    base, aim = summary.summarise(rows, CHOICES)["rows"]
    assert base["cut_to"] == 6
    scale = summary.Costs("onevision-7b", 8, 6, 5, None).scale(foveate.Reduction())
    assert 4.5 < scale["prefill"] < 28 / 6  # and one head
    assert 3.5 < scale["encode"] < 26 / 6  # and one projector
    assert (base["unscaled"], aim["unscaled"]) == ([], [])
    assert base["stages_ms"]["prefill"] == pytest.approx(2000 * scale["prefill"])
    assert base["first_token_ms"] == pytest.approx(
        1000 * (0.5 + scale["encode"] + 2 * scale["prefill"])
    )
    assert aim["stages_ms"]["prefill"] != pytest.approx(base["stages_ms"]["prefill"])
    fewer = [row(n, name, 2.0, layers=4) for n in range(6) for name in CHOICES]
    assert summary.summarise(fewer, CHOICES)["rows"][1]["unscaled"] == ["score"]


def test_a_fault_is_told(summary):
    rows = [row(n, "unreduced", 2.0) for n in range(6)]
    rows += [row(n, "aim", 2.0, fault="OutOfMemoryError: no") for n in range(6)]
    assert summary.summarise(rows, CHOICES)["rows"][1]["fault"] == "OutOfMemoryError: no"
    assert "OutOfMemoryError: no" in summary.table(summary.summarise(rows, CHOICES)["rows"])
