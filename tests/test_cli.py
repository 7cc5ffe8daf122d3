import json
import subprocess
import sys

import pytest

import foveate
from foveate.errors import InputError
from foveate.models.family import families
from foveate.shell import parse_prune


def run(*arguments: str) -> subprocess.CompletedProcess:
    code = "from foveate.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


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
        (["demo", "--out", "/no/such/folder/x.png"], "existing folder"),
    ],
)
def test_bad_input_is_one_line_and_a_status(arguments, message):
    out = run(*arguments)
    assert out.returncode == 2
    assert out.stdout == ""
    (line,) = out.stderr.strip().splitlines()
    assert message in line


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


def test_demo(tmp_path):
    from PIL import Image

    out = run("demo", "--json", "--out", str(tmp_path / "demo.png"))
    assert out.returncode == 0, out.stderr
    rows = json.loads(out.stdout)["rows"]
    assert {row["budget"] for row in rows} >= {"unreduced", "keep 25 %, prune"}
    assert all(isinstance(row["right"], bool) for row in rows)
    assert any(row["file"].endswith(".webp") for row in rows)
    assert Image.open(tmp_path / "demo.png").width > 800
