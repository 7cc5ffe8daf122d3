import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
from PIL import Image

import foveate
from command import run
from foveate.cli.console import parse_prune, print_json
from foveate.demo import demo as demonstration
from foveate.errors import InputError
from foveate.models.family import families

CLIP = str(foveate.example("clip"))


def test_a_process_of_its_own():
    command = [sys.executable, "-m", "foveate", "ask", "nope.png", "what?"]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    alike = run(*command[3:])
    assert (out.returncode, out.stdout, out.stderr) == (2, "", alike.stderr)
    assert alike.returncode == 2


def test_ask_prints_the_answer_on_stdout_and_the_rest_on_stderr():
    picture = str(foveate.example("picture"))
    out = run(
        "ask", picture, "how many digits are there?", "--keep", "0.25", "--prune", "0.5,0.786"
    )
    assert out.returncode == 0
    assert len(out.stdout.splitlines()) == 1
    assert "300 visual tokens, 75 to the LLM" in out.stderr
    out = run("ask", picture, "how many digits are there?", "--json")
    document = json.loads(out.stdout)
    assert document["text"]
    assert not document["report"]["fired"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "nope.png", "what?"], "no such picture or video file: nope.png"),
        (["ask", "what?"], "at least one picture and a question"),
        (["ask", "a.png", "b", "--keep", "1.5"], "got 1.5"),
        (["ask", "a.png", "b", "--prune", "late"], "--prune takes"),
        (["ask", "a.png", "b", "--method", "magic"], "known methods: aim"),
        (["ask", "a.png", "b", "--reduction", "{}"], "a reduction is written"),
        (["ask", "a.png", "b", "--reduction", "aim"], "a reduction is written as JSON"),
        (["ask", "a.png", "b", "--reduction", "no.json"], "cannot read a reduction from no.json"),
        (
            ["ask", "a.png", "b", "--reduction", "x.json", "--keep", ".5", "--prune", "none"],
            "give --reduction, or --method, --keep, --prune; got --reduction and --keep and --prune",
        ),
        (["ask", CLIP, "b", "--max-new-tokens", "0"], "max_new_tokens must be at least 1, got 0"),
        (["demo", "--out", "/no/such/folder/x.png"], "existing folder"),
        (["demo", "--out", "x.foo"], "--out must be a file (.png, .jpg, .webp)"),
        (["demo", "--out", "TAKEN.png"], "--out must be a file (.png, .jpg, .webp)"),
        (["measure", "foveate-mini", "--threads", "0"], "threads must be at least 1, got 0"),
        (["measure", "foveate-mini", "--device", "cudaa"], "torch has here (cpu"),
        (["measure", "foveate-mini", "--out", "TAKEN.png"], "one file, got the folder TAKEN.png"),
        (["measure", "foveate-mini", "--out", "FILE/x.jsonl"], "no folder for the records FILE/x"),
        (["analyze", "foveate-mini", "ocr", "--figure", "x.foo"], "--figure must be a file (.png"),
        (["analyze", "foveate-mini", "ocr", "--figure", "TAKEN.png"], "--figure must be a file"),
        (["analyze", "foveate-mini", "ocr", "--out", "no/x.json"], "--out must be a file (.json)"),
        (["report", "FILE", "--out", "TAKEN.html"], "--out must be a file (.html)"),
    ],
)
def test_bad_input_is_one_line_and_a_status(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for taken in ("TAKEN.png", "TAKEN.html"):
        (tmp_path / taken).mkdir()
    (tmp_path / "FILE").touch()
    monkeypatch.setattr("foveate.demo.demo.run", None)  # refused before any work
    monkeypatch.setattr("foveate.measure.analyze.analysis.analyze", None)
    out = run(*arguments)
    assert out.returncode == 2
    assert out.stdout == ""
    (line,) = out.stderr.strip().splitlines()
    assert message in line


def test_an_error_of_several_lines_is_one_line(monkeypatch):
    def fail(*_):
        raise InputError("one\n  two\nthree")

    monkeypatch.setattr("foveate.ask.vlm.load", fail)
    assert run("ask", CLIP, "what?").stderr == "foveate: one two three\n"


@pytest.mark.parametrize("method", ["aim", "fovea"])
def test_what_is_not_given_is_the_methods_own(method):
    def report(*knobs):
        told = run("ask", CLIP, "which digit appears first?", "--method", method, *knobs, "--json")
        return json.loads(told.stdout)["report"]

    whole = report()
    assert whole["visual_tokens_in"] == [289]
    assert whole["visual_tokens_to_llm"] == [73]
    assert whole["visual_tokens_by_layer"][0][-1] == 0
    for given in (("--keep", "0.25"), ("--prune", "0.5,0.786")):
        assert report(*given)["visual_tokens_by_layer"] == whole["visual_tokens_by_layer"]
    pruned = report("--keep", "1")
    assert pruned["visual_tokens_to_llm"] == [289]
    assert pruned["visual_tokens_by_layer"][0][-1] == 0
    assert report("--prune", "none")["visual_tokens_by_layer"] == [[73] * 8]
    assert report("--prune", "none", "--keep", "0.5")["visual_tokens_to_llm"] == [8 * 18 + 1]
    assert not report("--prune", "none", "--keep", "1")["fired"]


def test_a_reduction_is_asked_for_as_it_is_written_down(tmp_path):
    file = tmp_path / "aim.json"
    file.write_text(foveate.AIM(0.5, (4, 6)).to_json())
    question = ("ask", CLIP, "which digit appears first?", "--json")
    reports = [
        json.loads(run(*question, *words).stdout)["report"]["visual_tokens_by_layer"]
        for words in (("--reduction", str(file)), ("--keep", ".5", "--prune", "4,6"))
    ]
    assert reports[0] == reports[1]
    assert reports[0][0][-1] == 0


def test_a_chat_shows_pictures_and_asks_line_by_line(monkeypatch):
    picture, question = str(foveate.example("picture")), "how many digits are there?"
    lines = f"{picture}\n{question}\n\nwhat is it?\n{picture}\n{question}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    out = run("ask", "--chat", "--keep", "0.25", "--most-visual-tokens", "100")
    assert out.returncode == 0
    talk = foveate.Conversation(foveate.load(), foveate.AIM(keep=0.25), most_visual_tokens=100)
    asked = [(picture, question), (None, "what is it?"), (picture, question)]
    assert out.stdout.splitlines() == [talk.ask(*turn).text for turn in asked]
    assert out.stderr.count("300 visual tokens, 75 to the LLM") == 2
    assert f"{talk.kv_bytes:,} bytes are cached" in out.stderr
    assert run("ask", "--chat", picture, question).returncode == 2


def test_the_packaged_clip_has_a_frame_rate():
    out = run("ask", CLIP, "which digit appears first?", "--fps", "1")
    assert out.returncode == 0, out.stderr
    assert "145 visual tokens" in out.stderr  # 4 of the 8 frames of 36, and a row's end


def test_measure_prints_one_document(tmp_path):
    asked = ["--methods", "pool", "--shares", ".25", "--tasks", "ocr", "--samples", "1"]
    out = run(
        "measure", "foveate-mini", *asked, "--timed", "1", "--rounds", "1",
        "--out", str(tmp_path / "x.jsonl"), "--json",
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    cell = {"task": "ocr", "answers": 1, "rounds": 1, "unanswerable": 0, "refused": False}
    assert json.loads(out.stdout) == {
        "records": str(tmp_path / "x.jsonl"),
        "cells": [
            cell | {"method": "unreduced", "budget": 1.0},
            cell | {"method": "pool", "budget": 0.25},
        ],
    }


def test_json_has_no_infinities(capsys):
    print_json([{"a": math.inf, "b": -math.inf}, math.nan, 1.5, "Infinity"])
    assert json.loads(capsys.readouterr().out) == [{"a": None, "b": None}, None, 1.5, "Infinity"]


def test_methods():
    listed = json.loads(run("methods", "--json").stdout)
    assert {row["name"] for row in listed["methods"]} == set(foveate.methods())
    assert {row["family"] for row in listed["families"]} == set(families())
    shown = run("methods").stdout
    assert "aim-merge" in shown
    assert "qwen2_5_vl" in shown


def test_prune_is_parsed():
    assert parse_prune("14,22") == (14, 22)
    assert parse_prune("0.5,22") == (0.5, 22)
    assert parse_prune("none") is None
    with pytest.raises(InputError, match="got '1,2,3'"):
        parse_prune("1,2,3")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo, run once: its rows, its picture, and what the command printed."""
    rows, picture = [], tmp_path_factory.mktemp("demo") / "demo.png"

    def asked(advance):
        rows.extend(whole(advance))
        return rows

    whole = demonstration.run
    with mock.patch.object(demonstration, "run", asked):
        out = run("demo", "--json", "--out", str(picture))
    return rows, picture, out


def test_demo(demo):
    _, picture, out = demo
    assert out.returncode == 0, out.stderr
    rows = json.loads(out.stdout)["rows"]
    assert {row["budget"] for row in rows} >= {"unreduced", "keep 25 %, prune"}
    assert all(isinstance(row["right"], bool) for row in rows)
    assert all(row["first_token_ms"] > 0 and row["answer"] for row in rows)
    assert any(row["file"].endswith(".webp") for row in rows)
    assert Image.open(picture).width > 800


def test_the_demos_table(demo, tmp_path, monkeypatch):
    first, second = (row for row in demo[0][:2])
    wrong = replace(second, answer="77", expected="78", first_token_ms=12.6)
    other = replace(first, question="what else?")
    monkeypatch.setattr(demonstration, "run", lambda advance: [first, wrong, other])
    monkeypatch.setattr(demonstration, "picture", lambda rows: Image.new("RGB", (4, 4)))
    out = run("demo", "--out", str(tmp_path / "demo.jpg"))
    assert out.returncode == 0, out.stderr
    assert Image.open(tmp_path / "demo.jpg").format == "JPEG"
    assert "ms: to the first token, median of 5 after a warm-up" in out.stderr
    cells = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in out.stdout.splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in cells] == [
        f"{first.question} ({first.file})",
        "",
        "what else? (" + first.file + ")",
    ]
    into, by_layer, *costs, said, right = cells[1][2:]
    assert cells[0][1:6] == ["unreduced", "300", " ".join(["300"] * 8), "100%", "100%"]
    assert (cells[1][1], into, by_layer) == ("keep 50 %", "150", " ".join(["150"] * 8))
    assert (costs[-1], said, right) == ("13", "77", "no: 78")
    assert cells[0][-1] == ("yes" if first.right else f"no: {first.expected}")


def test_families():
    listed = json.loads(run("families", "--json").stdout)
    assert {row["family"] for row in listed["families"]} == set(families())
    assert {row["transformers"] for row in listed["families"]} >= {"5.17 to 5.24"}
    (mllama,) = [row for row in listed["out_of_scope"] if row["family"] == "mllama"]
    assert "cross-attention" in mllama["why"]
    shown = run("families").stdout
    assert "[CLS] attention, keys" in shown
    assert "methods that watch the encoder: " in shown
