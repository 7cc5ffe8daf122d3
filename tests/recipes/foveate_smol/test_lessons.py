"""A packed part has the loss of its questions asked one by one of the stock model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from foveate.scenes import make, scene
from mini import stock_logits
from pretend import GPU, pretend
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.tokens import END
from recipes.foveate_smol import lessons as lessons_module
from recipes.foveate_smol.lessons import (
    BASE_VIEW,
    CLIPS_EVERY,
    ROTA,
    Lessons,
    accuracy,
    part,
    parts_of,
    run,
)
from recipes.foveate_smol.model import add_lora

LESSONS = Lessons(batch=6, at_once=4, turns=3, sentences=True, whole_from=60, seed=1)
TASKS_OF_PICTURES = ["documents", "charts", "screens", "texture", "ocr", "reasoning"]


def scenes_of(task):
    if task == "video":
        return [make(task, "val", index, length=5) for index in (1, 2)]
    return [scene(task, "val", index, size=144) for index in (1, 2)]


@pytest.mark.parametrize("task", [*TASKS_OF_PICTURES, "video"])
def test_a_packed_part_is_its_questions_one_by_one(task, fresh, processor):
    model = fresh()
    for name, weight in add_lora(model).items():
        torch.manual_seed(len(name))
        torch.nn.init.normal_(weight, std=0.1)
    scenes = scenes_of(task)
    shown = part(scenes, LESSONS)
    with torch.no_grad():
        loss, hits = run(model, Packer(processor.tokenizer), shown)
    losses, right = [], []
    for picture, row in zip(scenes, shown.asked, strict=True):
        for question in row:
            logits, _ = stock_logits(model, processor, picture, question)
            answer = processor.tokenizer(question.answer + END)["input_ids"]
            target = torch.tensor(answer)
            losses.append(cross_entropy(logits, target, reduction="none"))
            right.append(bool((logits.argmax(-1) == target).all()))
    torch.testing.assert_close(loss, torch.cat(losses).mean(), rtol=1e-5, atol=1e-5)
    assert [hit for row in hits for hit in row] == right


@pytest.mark.parametrize("task", ["charts", "video"])
def test_a_part_is_made_where_the_model_is(task, fresh, processor):
    model, packer = fresh(), Packer(processor.tokenizer)
    shown = part(scenes_of(task), LESSONS)
    with torch.no_grad():
        expected, hits = run(model, packer, shown)
        with pretend() as there:
            loss, same = run(there(model), packer, shown)
    assert loss.device == GPU
    assert torch.equal(loss.here, expected)
    assert same == hits


def test_both_views_of_a_picture_show_the_same(fresh, processor):
    """Leaving one out loses nothing: without the newlines the two are equal, token by token."""
    model, seen = fresh(), []
    hook = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    packer = Packer(processor.tokenizer)
    for views in (slice(None), slice(None, BASE_VIEW), slice(BASE_VIEW, None)):
        with torch.no_grad():
            run(model, packer, part(scenes_of("charts"), LESSONS, views))
    hook.remove()
    both, first, second = (states[:, len(packer.header) :] for states in seen)
    tile = second[:, : 12 * 13].unflatten(1, (12, 13))[:, :, :12].flatten(1, 2)
    assert torch.equal(first[:, :BASE_VIEW], tile)
    assert torch.equal(both[:, :BASE_VIEW], tile)
    assert torch.equal(both[:, BASE_VIEW : BASE_VIEW + 156], second[:, :156])


def test_a_step_is_drawn_from_its_number_alone():
    for step in (0, CLIPS_EVERY - 1):
        twice = [parts_of(step, LESSONS) for _ in range(2)]
        assert [one.asked for one in twice[0]] == [one.asked for one in twice[1]]
        assert [len(one.clips) for one in twice[0]] == [4, 2]
        for one, again in zip(*twice, strict=True):
            assert all(map(np.array_equal, one.clips, again.clips))
    assert parts_of(0, LESSONS)[0].asked != parts_of(1, LESSONS)[0].asked


def test_steps_show_every_task_and_views(monkeypatch):
    shown = set()

    def noted(make):
        def made(task, split, *more):
            shown.add((task, split))
            return make(task, split, *more)

        return made

    for name, original in (("make", make), ("scene", scene)):
        monkeypatch.setattr(lessons_module, name, noted(original))
    lessons = replace(LESSONS, batch=2, at_once=2)
    parts = [one for step in range(90) for one in parts_of(step, lessons)]
    assert shown == {(task, "train") for task in (*ROTA, "video")}
    clips = [one.is_video for one in parts]
    assert clips == [step % CLIPS_EVERY == CLIPS_EVERY - 1 for step in range(90)]
    early = {str(one.views) for one, clip in zip(parts[:60], clips, strict=False) if not clip}
    whole = str(slice(None))
    assert early == {whole, str(slice(None, BASE_VIEW)), str(slice(BASE_VIEW, None))}
    assert all(str(one.views) == whole for one in parts[60:])


@pytest.mark.parametrize("sentences", [True, False])
def test_answers_are_sentences_where_asked_for(sentences):
    lessons = replace(LESSONS, sentences=sentences)
    for step in (0, CLIPS_EVERY - 1):
        for one in parts_of(step, lessons):
            for row in one.asked:
                assert len(row) <= 3
                assert all(question.answer.endswith(".") == sentences for question in row)


def test_accuracy_is_of_validation_scenes(fresh, processor, monkeypatch):
    shown = []

    def half_right(model, packer, one):
        shown.extend(one.clips)
        return torch.zeros(()), [[True, False]] * len(one.clips)

    monkeypatch.setattr(lessons_module, "run", half_right)
    shares = accuracy(fresh(), Packer(processor.tokenizer), LESSONS, size=6)
    assert shares == dict.fromkeys(["reasoning", "ocr", "video", *TASKS_OF_PICTURES[:4]], 0.5)
    assert len(shown) == 7 * 6
    expected = [
        frame for index in range(6) for frame in scene("charts", "val", index, size=144).frames()
    ]
    assert any(np.array_equal(shown[first], expected[0][None]) for first in range(len(shown)))
