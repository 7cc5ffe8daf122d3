"""A file of records with a defect is one error that names it, for all that read such files."""

import json

import pytest

import foveate
from command import run
from foveate.ask.media import Sampling
from foveate.errors import InputError
from foveate.measure.report.page import write
from foveate.measure.run.log import Log
from foveate.planner.reduction import plan_reduction
from foveate.records.summary import summarise
from foveate.report import STAGES

SETTINGS = {"unreduced": 1.0, "pool": 0.25}
MODEL = {
    "model": "foveate-mini", "family": "llava_onevision", "layers": 8, "weights": "abc",
    "dtype": "float32", "device": "cpu", "gpu": None, "threads": 1,
}  # fmt: skip


def lines() -> list[dict]:
    """A run of one task and one method."""
    rows = [{"kind": "run", **MODEL, "tasks": [{"name": "reasoning"}], "conditions": {}}]
    for method, share in SETTINGS.items():
        made = foveate.Reduction() if method == "unreduced" else foveate.create(method, keep=share)
        setting = {"kind": "setting", "method": method, "budget": share, "role": "method"}
        rows.append({**setting, "knobs": repr(made), "reduction": made.to_dict()})
    for method, share in SETTINGS.items():
        cell = {"task": "reasoning", "method": method, "budget": share}
        took = dict.fromkeys(
            ("visual_tokens_to_llm", "llm_flops", "llm_flops_unreduced", "kv_bytes",
             "kv_bytes_unreduced", "flops"), 1)  # fmt: skip
        rows += [{"kind": "answer", **cell, "index": i, "score": 1.0, **took} for i in range(2)]
        rows.append({"kind": "time", **cell, "round": 0} | {f"{s}_ms": 1.0 for s in STAGES})
    return rows


def changed(kind: str, /, **fields) -> str:
    """The run with other fields in its lines of one kind; `...` leaves a field out."""
    rows = [row | fields if row["kind"] == kind else row for row in lines()]
    return text_of({k: v for k, v in row.items() if v is not ...} for row in rows)


def text_of(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


DEFECTS = [
    (changed("run", layers=...), "layers is missing in {'kind': 'run'"),
    (changed("run", layers="8"), "layers must be a whole number of at least 1, got '8'"),
    (changed("run", tasks=["ocr"]), "tasks must be a list of tasks with their names, got ['ocr']"),
    (changed("run", conditions=None), "conditions must be an object, got None"),
    (changed("setting", budget="abc"), "budget must be a share in (0, 1], got 'abc'"),
    (changed("setting", role=...), "role is missing in {'kind': 'setting'"),
    (changed("answer", score=...), "score is missing in {'kind': 'answer'"),
    (changed("answer", score=None), "score must be a finite number, got None"),
    (changed("answer", budget="abc"), "budget must be a share in (0, 1], got 'abc'"),
    (changed("answer", index=[1]), "index must be a whole number, got [1]"),
    (changed("answer", llm_flops_unreduced=0), "llm_flops_unreduced must be above 0, got 0"),
    (changed("time", prefill_ms=...), "prefill_ms is missing in {'kind': 'time'"),
    (changed("time", kind="motion"), "kind must be one of ('run', 'setting', "),
    (text_of(row for row in lines() if row["kind"] != "setting"),
     "no line of kind 'setting' has the knobs of unreduced at 1"),
    (text_of(row for row in lines() if row["kind"] != "run"), "no line of kind 'run' says which"),
    ("buy milk\nand bread\n", "line 1 must be a JSON object, got 'buy milk'"),
    (text_of(lines()).replace("pool", "p\xfcl"), "'utf-8' codec can't decode byte"),
]  # fmt: skip


def log(file) -> None:
    """Go on with a file, as `foveate measure --out` does."""
    Log(file, MODEL, [], [], Sampling())


def plan(file) -> None:
    plan_reduction("foveate-mini", 0.9, measured=file)


READERS = {"report": summarise, "plan": plan, "measure": log}


@pytest.mark.parametrize("reader", READERS)
def test_a_sound_file_is_read(tmp_path, reader):
    file = tmp_path / "run.jsonl"
    file.write_text(text_of(lines()))
    READERS[reader](file)
    assert file.read_text().startswith(text_of(lines()))
    assert write(summarise(file), tmp_path / "page.html")
    file.write_text(changed("setting", role=..., paper="baseline"))  # as older files have it
    READERS[reader](file)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("text", "message"), DEFECTS, ids=range(len(DEFECTS)))
def test_a_defect_is_said_by_all_who_read_it(tmp_path, reader, text, message):
    file = tmp_path / "run.jsonl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as refused:
        READERS[reader](file)
    assert str(file) in str(refused.value)
    assert message in str(refused.value)
    assert ("give another --out" in str(refused.value)) == (reader == "measure")
    assert file.read_bytes() == text.encode("latin-1")


def test_commands_say_it_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text(changed("answer", score=...))
    for words in (
        ("report", "x.jsonl"),
        ("plan", "foveate-mini", "--budget", "50%", "--measured", "x.jsonl"),
        ("measure", "foveate-mini", "--methods", "pool", "--tasks", "ocr", "--out", "x.jsonl"),
    ):
        out = run(*words)
        assert (out.returncode, out.stdout) == (2, "")
        (line,) = out.stderr.strip().splitlines()
        assert "x.jsonl is not a file of `foveate measure`: score is missing in" in line
