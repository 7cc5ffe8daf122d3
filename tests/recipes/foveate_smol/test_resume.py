"""A killed run goes on as if nothing had happened, in every stage."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from foveate.errors import InputError
from recipes.foveate_mini import checkpoint
from recipes.foveate_smol import loop, stages
from recipes.foveate_smol.loop import Stage
from recipes.foveate_smol.stages import Place, Recipe, train

RECIPE = Recipe(3, 2, align_steps=3, join_steps=3, batch=2, at_once=1, turns=2)


class Killed(Exception):
    pass


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Nothing is measured on the way, and every step is saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "accuracy", lambda *_: {})
        patch.setattr(stages, "Stage", partial(Stage, save_seconds=0.0, report_seconds=0.0))
        yield


@pytest.fixture(scope="module")
def straight(base, _quick, tmp_path_factory):
    """Folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("straight")
    assert train(RECIPE, lambda: base, Place(folder, "cpu")) == folder / "adapter.safetensors"
    return folder


@pytest.mark.parametrize("stage", ["tower", "align", "join"])
def test_resumed_weights_are_the_same_bits(stage, base, straight, tmp_path, monkeypatch):
    save = checkpoint.save

    def dying(path, state):
        save(path, state)
        if path.stem == stage and state["step"] == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(Killed):
            train(RECIPE, lambda: base, Place(tmp_path, "cpu"))
    assert not (tmp_path / "adapter.safetensors").exists()
    assert train(RECIPE, lambda: base, Place(tmp_path, "cpu"))
    for name in ("tower", "align", "join"):
        one, other = (checkpoint.load(folder / f"{name}.pt") for folder in (straight, tmp_path))
        assert one
        assert other
        assert all(
            torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"]
        )
    one, other = (load_file(folder / "adapter.safetensors") for folder in (straight, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_every_stage_trains_what_it_should(straight):
    states = {name: checkpoint.load(straight / f"{name}.pt") for name in ("tower", "align", "join")}
    weights = {name: state["weights"] for name, state in states.items()}
    assert any("vision_tower" in name for name in weights["tower"])
    assert not any("vision_tower" in name for name in weights["align"])
    assert {name for name in weights["join"] if ".lora_" not in name} == set(weights["align"])
    assert sum(".lora_" in name for name in weights["join"]) == 2 * 7 * 3
    second = [part for name, part in weights["join"].items() if ".lora_B." in name]
    assert all(part.any() for part in second)  # they start at zero
    name = "model.multi_modal_projector.linear_1.weight"
    assert not torch.equal(weights["align"][name], weights["join"][name])
    delivered = load_file(straight / "adapter.safetensors")
    tower = "model.vision_tower.encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(delivered[tower], weights["tower"][tower].half())
    assert {part.dtype for part in delivered.values()} == {torch.float16}


def test_the_log_says_how_far_it_is(straight):
    rows = [json.loads(line) for line in (straight / "log.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows if "loss" in row] == [
        (stage, step) for stage in ("tower", "align", "join") for step in (1, 2, 3)
    ]


def test_time_that_is_up_stops_at_a_saved_step(base, straight, tmp_path, monkeypatch):
    """A step takes ten seconds of this clock, and saving is not due."""
    clock, step = [0.0], loop._step

    def slow(*arguments):
        clock[0] += 10.0
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "Stage", partial(Stage, save_seconds=1e9))
        patch.setattr(loop, "_step", slow)
        patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        assert train(RECIPE, lambda: pytest.fail("too early"), Place(tmp_path, "cpu", 15.0)) is None
    begun = checkpoint.load(tmp_path / "tower.pt")
    assert begun
    assert begun["step"] == 2
    assert train(RECIPE, lambda: base, Place(tmp_path, "cpu"))
    one, other = (load_file(folder / "adapter.safetensors") for folder in (straight, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_finished_run_is_not_trained_again(base, straight, monkeypatch):
    before = (straight / "join.pt").read_bytes()
    monkeypatch.setattr("recipes.foveate_smol.loop._step", lambda *_: pytest.fail("trained again"))
    assert train(RECIPE, lambda: base, Place(straight, "cpu"))
    assert (straight / "join.pt").read_bytes() == before


def test_scenes_drawn_ahead_are_the_same(base, straight, tmp_path):
    assert train(RECIPE, lambda: base, Place(tmp_path, "cpu", workers=1))
    one, other = (load_file(folder / "adapter.safetensors") for folder in (straight, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_folder_is_of_one_recipe(base, straight):
    with pytest.raises(InputError, match=r"begun with \{'batch': 2\}; got \{'batch': 4\}"):
        train(replace(RECIPE, batch=4), lambda: base, Place(straight, "cpu"))
