"""runs/: every published row has a command that means the published setting."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from foveate.combine.aim import PAPER
from foveate.cost.configs import read_config
from foveate.cost.hardware import hardware
from foveate.cost.request import request_cost
from foveate.prune.aim import AIMPrune

ROOT = Path(__file__).parents[2]
GROUPS = json.loads((ROOT / "runs" / "published.json").read_text())["groups"]
CONFIG = {"video": ("llava-onevision-7b", 100), "image": ("llava-1.5-7b", 40)}
ROWS = [(group, row) for group in GROUPS for row in group["rows"]]


@pytest.mark.parametrize(("group", "row"), ROWS)
def test_published_cost_is_that_of_the_command(group, row):
    found = re.search(r"preset=([\w.-]+)", row["arguments"])
    keep, prune = 1.0, None
    if found:
        merge, prune = PAPER[found[1]]
        keep = merge.keep
    if row["tflops"] is None:
        return
    name, text = CONFIG[group["name"]]
    whole = row["frames"] * 196 if row["frames"] else 576
    kept = round(keep * whole)
    inside = prune and AIMPrune(prune)
    cost = request_cost(read_config(name), kept, text, inside, convention="llm-viewer")
    assert cost.flops / 1e12 == pytest.approx(row["tflops"], abs=0.005)
    assert cost.first_token_ms(hardware("a100")) == pytest.approx(row["prefill_ms"], abs=0.005)


def test_commands():
    spec = importlib.util.spec_from_file_location("commands", ROOT / "runs" / "commands.py")
    commands = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(commands)
    lines = [commands.command(group, row) for group, row in ROWS]
    assert len(set(lines)) == len(lines)
    tasks = "videomme,videomme_w_subtitle,mlvu_dev,egoschema"
    assert f"preset=llava-onevision-7b,frames=192 --tasks {tasks} " in "".join(lines)
    assert all("--model foveate --model_args pretrained=llava-hf/" in line for line in lines)


def test_lmms_eval_has_the_tasks():
    lmms_eval = pytest.importorskip("lmms_eval", reason="the extra `eval` is absent")
    folder = Path(lmms_eval.__file__).parent / "tasks"
    known = {
        name
        for file in folder.rglob("*.yaml")
        for name in re.findall(r'^(?:task|group): *"?(\w+)"? *$', file.read_text(), re.M)
    }
    assert {name for group in GROUPS for name in group["tasks"].values()} <= known
