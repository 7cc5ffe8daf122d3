"""What foveate logs of its work, and that a program or `foveate -v` must ask to see it."""

import json
import logging
import subprocess
import sys

import pytest

import foveate
from command import run
from foveate.reduction import typed

PICTURE, QUESTION = str(foveate.example("picture")), "how many digits are there?"


@pytest.fixture
def told(caplog):
    """Messages at INFO so far, by module."""
    caplog.set_level(logging.INFO, "foveate")
    return lambda module: [r.getMessage() for r in caplog.records if r.name == f"foveate.{module}"]


def test_a_prefill_is_told_by_the_numbers_of_its_report(told):
    vlm = foveate.load()
    assert told("ask.vlm") == ["loaded foveate-mini: llava_onevision, torch.float32 on cpu"]
    reduction = foveate.AIM(keep=0.25)
    with foveate.reduce(vlm.model, reduction) as run_:
        for _ in range(2):
            vlm.model(**vlm.inputs(PICTURE, QUESTION))
        assert told("runtime.reducer") == [f"reduction opened: {reduction}"]
    assert told("runtime.reducer")[1:] == ["reduction closed"]
    assert len(told("runtime.run")) == 2
    for line, report in zip(told("runtime.run"), run_.reports, strict=True):
        head, seconds = line.split("; seconds: ")
        last = [layers[-1] for layers in report.visual_tokens_by_layer]
        assert head == (
            f"prefill: [300] visual tokens, {report.visual_tokens_to_llm} to the LLM, {last} in its last "
            f"layer; {report.prefill_flops:.4g} of {report.prefill_flops_unreduced:.4g} FLOPs, "
            f"{report.kv_bytes} of {report.kv_bytes_unreduced} bytes of KV cache"
        )
        assert dict(part.split() for part in seconds.split(", ")) == {
            part: f"{spent:.3f}" for part, spent in report.seconds.items()
        }


def test_the_end_is_told_after_an_error_too(told):
    vlm = foveate.load()
    with pytest.raises(KeyError), foveate.reduce(vlm.model, foveate.AIM(keep=0.25)):
        raise KeyError
    assert told("runtime.reducer")[-1] == "reduction closed"


def test_what_a_budget_chose_is_told_with_why(told):
    plan = foveate.plan("foveate-mini", "25%")
    (line,) = told("planner.reduction")
    assert line == f"for 25.0% of the prefill FLOPs: {typed(plan.reduction)}; {plan.why}"
    vlm = foveate.load()
    vlm.ask(PICTURE, QUESTION, budget="25%", max_new_tokens=1)
    assert told("runtime.reducer")[0] == "reduction opened: for each prompt"
    assert len(told("planner.reduction")) == 2


def test_the_command_tells_on_stderr_and_only_if_asked():
    ask = ("ask", PICTURE, QUESTION, "--keep", "0.25", "--max-new-tokens", "1", "--json")
    quiet = run(*ask)
    assert quiet.stderr == ""
    for flag in ("-v", "--verbose"):
        loud = run(flag, *ask)
        assert loud.returncode == 0
        assert json.loads(loud.stdout)["text"] == json.loads(quiet.stdout)["text"]
        for line in ("loaded foveate-mini", "reduction opened: AIM(keep=0.25", "prefill: [300]"):
            assert loud.stderr.count(line) == 1
    assert run(*ask).stderr == ""  # it holds for that one command
    assert run("-v", "ask", "nope.png", "what?").returncode == 2
    assert logging.getLogger("foveate").level == logging.NOTSET


SILENT = """
import sys
before = "logging" in sys.modules
import foveate
assert ("logging" in sys.modules) == before
import foveate.reduction, logging
logger = logging.getLogger("foveate")
assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
logging.getLogger("foveate.runtime.run").warning("unseen")
"""


def test_a_library_says_nothing_by_itself():
    command = [sys.executable, "-c", SILENT]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout + out.stderr == ""
