"""All doors agree: the same reduction, asked for at any, is the same; so is what is not asked for."""

import inspect
import json

import pytest
import torch
from typer.models import OptionInfo

import foveate
from command import run
from foveate import cli, defaults
from foveate.apply import fitting
from foveate.ask.media import read
from foveate.ask.vlm import VLM
from foveate.cost.request import request_cost
from foveate.cost.timed_layers import calibrate
from foveate.cost.vision.encoder import Media
from foveate.harness.asking import Asker, generate_arguments
from foveate.measure.analyze.analysis import analyze
from foveate.measure.run.runner import Amount
from foveate.planner.degradation import degradation_order
from foveate.planner.frames import plan_frames
from foveate.planner.reduction import plan_reduction, plan_requests
from foveate.train.settings import Recipe

PICTURE, QUESTION = str(foveate.example("text")), "what is written?"
DOORS = (VLM.ask, VLM.inputs, fitting, foveate.reduce, Asker.of)
PLANS = (plan_reduction, plan_requests, plan_frames, degradation_order, request_cost)
COMMANDS = (cli.ask.ask, cli.cost.cost, cli.plan.plan, cli.measure.measure)
# (command line, Python): the same reduction; the commands have no word for what Python takes alone
SAME = [
    ((), {}),
    (("--keep", "0.25"), {"reduction": foveate.AIM(keep=0.25)}),
    (("--prune", "4,6"), {"reduction": foveate.AIM(prune=(4, 6))}),
    (("--prune", "none"), {"reduction": foveate.AIM(prune=None)}),
    (("--keep", "1"), {"reduction": foveate.AIM(keep=1.0)}),
    (("--method", "aim"), {"reduction": foveate.AIM()}),
    (("--method", "fovea", "--keep", "0.5"), {"reduction": foveate.Fovea(keep=0.5)}),
    (("--method", "fastv"), {"reduction": foveate.FastV()}),
    (("--method", "divprune", "--keep", "0.1"), {"reduction": foveate.DivPrune(keep=0.1)}),
    (
        (
            "--reduction",
            '{"before": {"method": "divprune", "keep": 0.5}, "inside": {"method": "fastv"}}',
        ),
        {"reduction": foveate.Reduction(before=foveate.DivPrune(0.5), inside=foveate.FastV())},
    ),
    (("--budget", "40%"), {"budget": "40%"}),
    (("--budget", "40%", "--task", "ocr"), {"budget": "40%", "task": "ocr"}),
    (("--budget", "40%", "--task", "auto"), {"budget": "40%", "task": "auto"}),
    (("--budget", "0.04 ms", "--machine", "a100"), {"budget": "0.04 ms", "machine": "a100"}),
    (("--budget", "0.5 MB"), {"budget": "0.5 MB"}),
]


@pytest.fixture(scope="module")
def vlm():
    return foveate.load("foveate-mini")


@pytest.mark.parametrize(("written", "asked"), SAME, ids=lambda part: " ".join(map(str, part)))
def test_one_reduction_at_every_door(vlm, written, asked):
    answer = vlm.ask(PICTURE, QUESTION, **asked)
    by_layer = answer.report.visual_tokens_by_layer
    told = run("ask", PICTURE, QUESTION, *written, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["text"] == answer.text
    assert json.loads(told.stdout)["report"]["visual_tokens_by_layer"] == by_layer

    more = {"pixels": [read(PICTURE)]} if asked.get("task") == "auto" else {}
    more |= {"answer_tokens": defaults.MAX_NEW_TOKENS} if "budget" in asked else {}
    with (
        torch.no_grad(),
        foveate.reduce(vlm.model, **(asked or {"reduction": foveate.Reduction()}), **more) as run_,
    ):
        vlm.model.generate(**vlm.inputs(PICTURE, QUESTION), max_new_tokens=defaults.MAX_NEW_TOKENS)
    assert run_.report.visual_tokens_by_layer == by_layer

    asker = Asker.of("foveate-mini", **asked)
    chat = [{"role": "user", "content": [read(PICTURE), QUESTION]}]
    text, _ = asker.answer(chat, **generate_arguments({}))
    assert text == answer.text
    assert asker.spent.prefill_flops == answer.report.prefill_flops
    assert asker.spent.visual_tokens_to_llm == sum(answer.report.visual_tokens_to_llm)


@pytest.mark.parametrize(
    ("written", "asked"), [pair for pair in SAME[:6] if "--method" not in pair[0]]
)
def test_cost_reckons_with_what_ask_does(vlm, written, asked):
    report = vlm.ask(PICTURE, QUESTION, **asked).report
    size = "{1}x{0}".format(*read(PICTURE).size)
    text = str(report.text_tokens[0])
    out = run("cost", "foveate-mini", "--size", size, "--text", text, *written, "--json")
    cost = json.loads(out.stdout)
    assert [cost["visual_tokens_by_layer"]] == report.visual_tokens_by_layer
    assert cost["flops_unreduced"] >= cost["flops"]


@pytest.mark.parametrize("task", [(), ("--task", "ocr")])
def test_plan_foretells_what_ask_does(vlm, task):
    report = vlm.ask(PICTURE, QUESTION, budget="40%", **({"task": task[1]} if task else {})).report
    text = str(report.text_tokens[0])
    plan = ["plan", "foveate-mini", "--budget", "40%", "--picture", PICTURE, "--text", text, *task]
    found = json.loads(run(*plan, "--json").stdout)
    prune = found["prune"] and tuple(found["prune"])
    again = vlm.ask(PICTURE, QUESTION, foveate.AIM(found["keep"], prune)).report
    assert again.visual_tokens_by_layer == report.visual_tokens_by_layer


def default(door, name):
    """What a door takes for a parameter that is not given; of a command as if it was typed."""
    found = inspect.signature(door).parameters[name].default
    return found.default if isinstance(found, OptionInfo) else found


@pytest.mark.parametrize(
    ("name", "value", "also"),
    [
        ("task", defaults.TASK, ()),
        ("budget", None, (plan_reduction, plan_requests, fitting)),  # which must have one
        ("reduction", None, ()),
        ("max_new_tokens", defaults.MAX_NEW_TOKENS, ()),
        ("answer_tokens", defaults.ANSWER_TOKENS, ()),
        ("answer", defaults.ANSWER_TOKENS, ()),
        ("text_tokens", defaults.TEXT_TOKENS, (request_cost,)),
        ("frames", None, (cli.cost.cost, cli.plan.plan, plan_frames)),  # a count there, not a most
        ("fps", None, ()),
        ("machine", None, (plan_reduction, plan_requests)),  # that of a model at hand is unknown
        ("keep", None, ()),  # None is what the method has
        ("prune", None, ()),
    ],
)
def test_one_knob_has_one_default(name, value, also):
    having = [d for d in (*DOORS, *PLANS, *COMMANDS) if name in inspect.signature(d).parameters]
    assert len(having) > 1
    for door in having:
        if door not in also:
            assert default(door, name) == value, door


def test_defaults_of_methods_and_plans_are_the_same():
    assert (foveate.AIM().keep, foveate.AIM().prune) == (defaults.KEEP, defaults.PRUNE)
    assert (foveate.Fovea().keep, foveate.Fovea().prune) == (defaults.KEEP, defaults.PRUNE)
    assert foveate.AIMPrune().prune == defaults.PRUNE
    assert foveate.DivPrune().keep == defaults.KEEP
    assert default(plan_reduction, "machine") == defaults.MACHINE
    assert default(plan_requests, "machine") == defaults.MACHINE


@pytest.mark.parametrize(
    ("command", "function", "names"),
    [
        (cli.measure.measure, Amount, ("samples", "batch", "timed", "rounds")),
        (cli.analyze.analyze, analyze, ("samples",)),
        (cli.calibrate.calibrate, calibrate, ("repeats",)),
        (
            cli.train.train,
            Recipe,
            ("images", "views", "batch", "accumulate", "bf16", "save_every", "seed"),
        ),
        (cli.cost.cost, Media, ("images", "frames", "max_pixels")),
        (cli.plan.plan, Media, ("images", "frames")),
    ],
)
def test_a_command_has_the_defaults_of_what_it_calls(command, function, names):
    for name in names:
        assert default(command, name) == default(function, name), name


@pytest.mark.parametrize(
    ("old", "new", "command"),
    [
        ("--hardware", "--machine", ("cost", "llava-1.5-7b", "h100")),
        ("--hardware", "--machine", ("plan", "llava-1.5-7b", "--budget", "9 ms", "h100")),
        ("--hardware", "--machine", ("ask", PICTURE, QUESTION, "--budget", "9 ms", "h100")),
    ],
)
def test_a_name_that_changed_is_told(old, new, command):
    *words, value = command
    now, before = run(*words, new, value, "--json"), run(*words, old, value, "--json")
    assert (now.returncode, before.returncode) == (0, 0)
    if words[0] != "ask":  # which is timed
        assert before.stdout == now.stdout
    assert f"foveate: {old} is now called {new}; the old name will go\n" in before.stderr
    assert old not in now.stderr
    both = run(*words, new, value, old, value)
    assert both.returncode == 2
    assert f"{old} is the old name of {new}" in both.stderr
    assert old not in run(words[0], "--help").stdout


def test_budgets_of_measure_are_shares(tmp_path, monkeypatch):
    seen = []

    def settings(names, shares, layers):
        seen.append(list(shares))
        raise foveate.FoveateError("seen")

    monkeypatch.setattr("foveate.measure.run.measure.settings", settings)
    for option in ("--shares", "--budgets"):
        out = run("measure", "foveate-mini", option, ".5,.1", "--out", str(tmp_path / "x.jsonl"))
        assert ("--budgets is now called --shares" in out.stderr) == (option == "--budgets")
    run("measure", "foveate-mini", "--out", str(tmp_path / "x.jsonl"))
    assert seen == [[0.5, 0.1], [0.5, 0.1], [0.5, 0.25, 0.125, 0.0625]]
    assert "--budgets" not in run("measure", "--help").stdout
