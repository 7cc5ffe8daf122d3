import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest
from jaxtyping import config
from transformers.utils import logging

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.models.family import families
from foveate.shell import parse_prune


def run(*arguments: str) -> subprocess.CompletedProcess:
    """What the command does in a process of its own, in this one: imports take longer than most tests.

    Types are not checked meanwhile, as they are not where users type what they like; and transformers,
    imported already, must be told otherwise than by an environment variable to draw no bars.
    """
    command, out, err, status = ["foveate", *arguments], io.StringIO(), io.StringIO(), 0
    config.update("jaxtyping_disable", True)
    logging.disable_progress_bar()
    try:
        with (
            mock.patch.object(sys, "argv", command),
            mock.patch.dict(os.environ),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        logging.enable_progress_bar()
        config.update("jaxtyping_disable", False)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


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
