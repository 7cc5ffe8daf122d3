"""A killed run goes on as if nothing had happened."""

from dataclasses import replace

import pytest
import torch

from recipes.foveate_mini import checkpoint, language, tower
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.plan import LOWEST_KEEP, MOST_BACKGROUND, LanguageRecipe, plan_step
from recipes.foveate_mini.tower import TowerRecipe

TOWER = TowerRecipe(steps=4, batch=4, warmup=2, save_every=2, report_every=100)
LANGUAGE = LanguageRecipe(
    steps=4, batch=2, turns=2, warmup=2, save_every=2, report_every=100, check_every=100
)


class Killed(Exception):
    pass


def killed_after(step, original):
    """A `checkpoint.save` after which the process dies, once `step` is saved."""

    def save(path, state):
        original(path, state)
        if state["step"] == step:
            raise Killed

    return save


@pytest.mark.parametrize("stage", ["tower", "language"])
def test_resumed_weights_are_the_same_bits(stage, fresh, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(language, "accuracy", lambda *_: {})

    def run(folder):
        model = fresh()
        if stage == "tower":
            tower.train(model.model.vision_tower, TOWER, folder)
        else:
            language.train(model, Packer(processor.tokenizer), LANGUAGE, folder)
        return model.state_dict()

    straight = run(tmp_path / "straight")
    with monkeypatch.context() as dying:
        dying.setattr(checkpoint, "save", killed_after(2, checkpoint.save))
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_half_written_checkpoint_is_never_read(tmp_path):
    path = tmp_path / "state.pt"
    assert checkpoint.load(path) is None
    checkpoint.save(path, {"step": 1})
    path.with_suffix(".part").write_bytes(b"half")
    assert checkpoint.load(path) == {"step": 1}


def test_a_finished_stage_is_not_trained_again(fresh, tmp_path):
    first, again = fresh().model.vision_tower, fresh().model.vision_tower
    seconds = tower.train(first, TOWER, tmp_path)
    assert tower.train(again, TOWER, tmp_path) == pytest.approx(seconds, abs=1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


def test_language_training_leaves_the_tower_alone(fresh, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(language, "accuracy", lambda *_: {})
    model = fresh()
    before = {name: p.clone() for name, p in model.named_parameters()}
    language.train(model, Packer(processor.tokenizer), replace(LANGUAGE, steps=2), tmp_path)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not any("vision_tower" in name for name in moved)
    assert any("projector" in name for name in moved)
    assert any("layers.0" in name for name in moved)


def test_plans_keep_what_they_promise():
    recipe = LanguageRecipe(steps=1000, background_from=0.4, whole_from=0.8)
    plans = [plan_step(step, recipe, layers=8) for step in range(1000)]
    assert {one.task for one in plans} == {"reasoning", "ocr", "video"}
    assert all(one.keep <= MOST_BACKGROUND for one in plans[:400])
    assert all(LOWEST_KEEP[one.task] <= one.keep <= 1 for one in plans[400:])
    assert {one.drop_after for one in plans} == {None, 4, 5, 6, 7}
    assert all((one.length is not None) == (one.task == "video") for one in plans)
    whole = [one.keep == 1.0 for one in plans]
    assert sum(whole[800:]) == pytest.approx(0.5 * 200, abs=30)  # half of the last steps
    assert sum(whole[400:800]) == pytest.approx(0.2 * 400, abs=30)
    assert [one.all_shown for one in plans] == [step < 400 for step in range(1000)]
