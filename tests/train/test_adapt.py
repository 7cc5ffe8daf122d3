"""`foveate train --reduction`: a stock model learns to read what a reduction leaves."""

import json
from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from typer.testing import CliRunner

import foveate
from foveate.cli import app
from foveate.combine.aim import AIM
from foveate.errors import InputError
from foveate.train import Adaptation, Stage, adapt
from foveate.train.settings import RECORD

QUARTER = AIM(keep=0.25, prune=(0, 2))


def recipe(stock, **more) -> Adaptation:
    plain = Adaptation(
        model=str(stock), data="scenes:reasoning:12", reduction=QUARTER.to_dict(),
        stage=Stage(2, 1e-2, llm=True), rank=2, batch=3, save_every=2,
    )  # fmt: skip
    return replace(plain, **more)


def losses(out):
    return [
        step["loss"]
        for step in json.loads((out / "adapter/log.json").read_text())
        if "loss" in step
    ]


class Kill(TrainerCallback):
    """Stops the training after five steps, as far as a test can."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_a_killed_training_goes_on_with_the_same_losses(stock, tmp_path):
    whole = adapt(recipe(stock), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe(stock), tmp_path / "killed", [Kill()])
    killed = adapt(recipe(stock), tmp_path / "killed")
    assert len(losses(whole)) == 8
    assert losses(killed) == losses(whole)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    held = json.loads((killed / "adapter/checkpoint-8" / RECORD).read_text())
    assert foveate.Reduction.from_dict(held["recipe"]["reduction"]) == QUARTER
    with pytest.raises(InputError, match=r"other settings \(reduction differ\)"):
        adapt(recipe(stock, reduction=AIM(keep=0.5, prune=(0, 2)).to_dict()), killed)


def test_the_llm_alone_learns_and_the_adapter_is_peft_s(stock, tmp_path):
    out = adapt(recipe(stock), tmp_path)
    before, after = (foveate.load(place).model.state_dict() for place in (stock, out))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(".language_model.layers." in name for name in moved)
    adapter = peft.PeftModel.from_pretrained(foveate.load(stock).model, out / "adapter")
    merged = adapter.merge_and_unload().state_dict()
    assert all(torch.allclose(merged[name], after[name]) for name in after)


def test_the_command_takes_a_reduction(stock, tmp_path):
    given = ["train", "scenes:reasoning:6", f"--model={stock}", f"--out={tmp_path}", "--json"]
    given += [
        '--reduction={"method": "aim", "keep": 0.25, "prune": [0, 2]}',
        "--epochs=0.5",
        "--rank=2",
        "--batch=3",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recipe"]["rank"] == 2
    for wrong, message in (
        (["--compressor=quecc"], "--reduction trains no compressor; got it beside --compressor"),
        (["--epochs=1,1"], "--epochs takes a number"),
        (["--rank=0"], "rank must be at least 1, got 0"),
    ):
        refused = CliRunner().invoke(app, [*given, *wrong])
        assert message in str(refused.exception)
    alone = CliRunner().invoke(
        app, ["train", "scenes:reasoning:6", f"--out={tmp_path}", "--rank=2"]
    )
    assert "--rank is of LoRA" in str(alone.exception)
