"""Roles say what has been seen so far, and land on the tokens that show it."""

from dataclasses import replace

import numpy as np
import torch

from foveate.scenes import make
from foveate.scenes.sample import Mark
from recipes.foveate_mini.packing import IGNORED
from recipes.foveate_mini.roles import clip_roles, picture_roles, role_loss, role_targets
from recipes.foveate_mini.visual import shown

SEVEN = Mark("7", "red", column=2, row=4, jitter=(0, 0), ink=np.ones((24, 24)))
TWO = replace(SEVEN, character="2", row=8)


def test_a_digit_that_moves_has_its_way_as_role():
    for step, way in (((1, 0), "right"), ((-1, 0), "left"), ((0, 1), "down"), ((0, -1), "up")):
        moved = replace(SEVEN, column=2 + step[0], row=4 + step[1])
        assert clip_roles(((SEVEN,), (moved,))) == [[" first"], [way]]


def test_first_and_last_are_as_far_as_seen():
    roles = clip_roles(((SEVEN,), (SEVEN, TWO), (SEVEN,)))
    assert roles == [[" first"], [" first", " last"], [" first"]]
    assert clip_roles(((SEVEN, TWO),)) == [[None, None]]


def test_top_and_bottom_of_a_picture_are_its_answers():
    for index in range(40):
        sample = make("reasoning", "train", index)
        by_role = dict(zip(picture_roles(sample.marks[0]), sample.marks[0], strict=True))
        for question in sample.ask(np.random.default_rng(0)):
            if question.family in ("top", "bottom"):
                assert by_role[" " + question.family].character == question.answer


def test_text_has_no_roles(processor):
    targets = role_targets([make("ocr", "train", 0)], processor.tokenizer)
    assert (targets == IGNORED).all()
    assert targets.shape == (1, 300)


def test_targets_lie_on_what_is_shown(model, processor):
    for samples in (
        [make("reasoning", "train", index) for index in range(8)],
        [make("video", "train", index, length=4) for index in range(8)],
    ):
        targets = role_targets(samples, processor.tokenizer)
        given = targets != IGNORED
        assert given.any()
        assert shown(samples)[given].all()
    assert role_loss(model, torch.zeros(8, targets.shape[1], 32), targets) > 0
    assert role_loss(model, torch.zeros(1, 4, 32), torch.full((1, 4), IGNORED)) == 0
