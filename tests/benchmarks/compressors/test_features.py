"""Features are the tower's own, made once; questions are those that are scored."""

from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.compressors.features import TASKS, pictures
from foveate.scenes import make, questions
from recipes.foveate_mini.tower import pixels_of


def test_states_are_what_the_tower_says(vlm, sets):
    tower = vlm.model.model.vision_tower
    for row in range(4):
        sample = make(TASKS[row % 2], "val", row // 2)
        with torch.no_grad():
            states = tower(pixels_of(sample.frames()), output_hidden_states=True).hidden_states
        first, *others = sets["val"].batch([row])
        assert first is None
        assert len(others) == tower.config.num_hidden_layers
        for kept, made in zip(others, states[1:], strict=True):
            torch.testing.assert_close(kept, made.half().float())


def test_they_come_from_disk_the_second_time_and_anew_when_lost(vlm, tmp_path):
    tower = vlm.model.model.vision_tower
    made = pictures(tower, "val", 3, tmp_path)
    told, path = sorted(tmp_path.iterdir())  # nothing half done is left
    again = pictures(SimpleNamespace(device="cpu"), "val", 3, tmp_path)
    assert np.array_equal(made.states, again.states)
    assert made.questions == again.questions
    for lost in (path, told):
        lost.unlink()
        anew = pictures(tower, "val", 3, tmp_path)
        assert np.array_equal(anew.states, made.states)
        assert anew.questions == made.questions


def test_they_are_made_anew_where_scenes_changed(vlm, tmp_path):
    tower = vlm.model.model.vision_tower
    before = pictures(tower, "val", 4, tmp_path)
    after = pictures(tower, "val", 4, tmp_path, lambda *where: make(*where, seed=5))
    assert not np.array_equal(before.states, after.states)
    assert before.questions != after.questions


def test_held_out_questions_are_those_of_the_scenes(sets):
    for task in TASKS:
        scored = [[tuple(one)] for _, *one in questions(task, "test", 3)]
        asked = [sets["test"].questions[row] for row in sets["test"].of(task)]
        assert [[(one.text, one.answer, one.family) for one in row] for row in asked] == scored


def test_training_pictures_have_all_their_questions(sets):
    for row in sets["train"].of("reasoning"):
        (marks,) = make("reasoning", "train", row // 2).marks
        families = [one.family for one in sets["train"].questions[row]]
        assert families.count("colour") == families.count("digit") == len(marks)
