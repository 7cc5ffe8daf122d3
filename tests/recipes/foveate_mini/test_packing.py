"""Packed training computes what the stock model computes."""

import numpy as np
import pytest
import torch

from foveate.scenes import TASKS, make
from foveate.scenes.sample import Question
from mini import stock_logits
from recipes.foveate_mini.language import encode
from recipes.foveate_mini.packing import (
    IGNORED,
    Packer,
    Turns,
    forward,
    packed,
    turn_hits,
    turn_mask,
)
from recipes.foveate_mini.plan import ask
from recipes.foveate_mini.visual import choose, shown, visual_tokens


@pytest.fixture(scope="module")
def packer(processor):
    return Packer(processor.tokenizer)


@pytest.mark.parametrize("task", TASKS)
def test_every_packed_turn_is_what_stock_computes(model, processor, packer, task):
    samples = [make(task, "val", index, length=5 if task == "video" else None) for index in (1, 2)]
    asked = ask(samples, limit=4, seed=0)
    turns = packer.pack(asked)
    with torch.no_grad():
        visual = visual_tokens(model, encode(model, samples), 2, is_video=task == "video")
        logits = model.lm_head(forward(model, packer.header, visual, turns)[0])
    for row, (sample, questions) in enumerate(zip(samples, asked, strict=True)):
        for number, question in enumerate(questions, start=1):
            mine = (turns.segment[row] == number) & (turns.target[row] != IGNORED)
            expected, _ = stock_logits(model, processor, sample, question)
            torch.testing.assert_close(logits[row, mine], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("task", TASKS)
def test_visual_tokens_are_what_stock_puts_in(model, processor, task):
    sample = make(task, "val", 0)
    question = sample.ask(np.random.default_rng(0))[0]
    seen = {}
    hook = model.model.language_model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True
    )
    _, inputs = stock_logits(model, processor, sample, question)
    hook.remove()
    config = model.config
    token = config.video_token_id if sample.is_video else config.image_token_id
    expected = seen["inputs_embeds"][inputs["input_ids"] == token]
    with torch.no_grad():
        visual = visual_tokens(model, encode(model, [sample]), 1, is_video=sample.is_video)[0]
    assert len(visual) == (36 * len(sample.marks) + 1 if sample.is_video else 300)
    torch.testing.assert_close(visual, expected, rtol=0, atol=1e-5)


def naive_mask(prefix, segments):
    """Row i, a turn's token, may look at column j: three plain rules."""
    whose = [None] * prefix + segments
    rows = range(prefix, len(whose))
    return [
        [j <= i and (whose[j] is None or whose[j] == whose[i]) for j in range(len(whose))]
        for i in rows
    ]


@pytest.mark.parametrize("prefix", [1, 4])
def test_mask_is_the_naive_one(prefix):
    segment = torch.tensor([[1, 1, 2, 2, 2, 0], [1, 2, 3, 3, 0, 0]])
    expected = [naive_mask(prefix, row.tolist()) for row in segment]
    assert turn_mask(prefix, segment)[:, 0].tolist() == expected


def test_packed_attention_leaves_no_trace(model):
    language = model.model.language_model
    before = language.config._attn_implementation
    with packed(language):
        assert language.config._attn_implementation != before
    assert language.config._attn_implementation == before
    with pytest.raises(RuntimeError), packed(language):
        raise RuntimeError
    assert language.config._attn_implementation == before


def test_dropped_tokens_are_gone(model, packer):
    """From the next layer on the sequence is shorter by every visual token."""
    sample = make("reasoning", "val", 0)
    turns = packer.pack(ask([sample], 2, seed=0))
    with torch.no_grad():
        visual = visual_tokens(model, encode(model, [sample]), 1, is_video=False)
        layers = len(model.model.language_model.layers)
        whole, _ = forward(model, packer.header, visual, turns)
        assert torch.equal(forward(model, packer.header, visual, turns, layers - 1)[0], whole)
        lengths = []
        hooks = [
            layer.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
            for layer in model.model.language_model.layers
        ]
        early, halfway = forward(model, packer.header, visual, turns, 0)
        for hook in hooks:
            hook.remove()
    text = len(packer.header) + turns.ids.shape[1]
    assert lengths == [text + 300] + [text] * (layers - 1)
    assert halfway.shape == visual.shape
    assert not torch.allclose(early, whole)


@pytest.mark.parametrize("keep", [0.3, 0.5, 1.0])
def test_kept_tokens_stay_in_order(keep):
    kept = choose((2, 13), keep, torch.Generator().manual_seed(0))
    assert kept.shape == (2, round(13 * keep))
    assert (kept.diff() > 0).all()
    assert kept.min() >= 0
    assert kept.max() < 13


@pytest.mark.parametrize("task", TASKS)
def test_shown_tokens_are_those_over_a_character(task):
    """Paint the marks' own cells, lay them out as the stock model does, and compare."""
    samples = [make(task, "val", index, length=4 if task == "video" else None) for index in (0, 1)]
    for row, sample in zip(shown(samples), samples, strict=True):
        expected = []
        for frame in sample.marks:
            cells = {
                (mark.row + down, mark.column + across)
                for mark in frame
                for down in range(mark.ink.shape[0] // 12)
                for across in range(mark.ink.shape[1] // 12)
            }
            if sample.is_video:
                halved = {(y // 2, x // 2) for y, x in cells}
                expected += [(y, x) in halved for y in range(6) for x in range(6)]
            else:
                expected += [(y, x) in cells for y in range(12) for x in range(12)]
                expected += [(y, x) in cells for y in range(12) for x in range(13)]
        if sample.is_video:
            expected.append(False)
        assert row.tolist() == expected


def test_what_always_stays_stays():
    always = torch.zeros(2, 13, dtype=torch.bool)
    always[0, [3, 7]] = True
    always[1, 12] = True
    kept = choose((2, 13), 0.25, torch.Generator().manual_seed(0), always)
    assert kept.shape == (2, 2 + round(0.25 * 11))
    assert {3, 7} <= set(kept[0].tolist())
    assert 12 in kept[1].tolist()


@pytest.mark.parametrize(
    ("question", "answer", "first_early"),
    [("which colour is the 7?", "red", " "), ("what is the red digit?", "7", " red")],
)
def test_answers_are_asked_for_early_from_the_word_on(
    packer, processor, question, answer, first_early
):
    turns = packer.pack([[Question(question, answer, "any")]])
    early = turns.early[0] != IGNORED
    text = processor.tokenizer.decode(turns.ids[0][early][:1])
    assert text == first_early
    assert not (early & (turns.target[0] != IGNORED)).any()
    wanted = processor.tokenizer.convert_tokens_to_ids(answer)
    assert set(turns.early[0][early].tolist()) == {wanted}


def test_a_turn_is_right_only_if_every_token_is():
    turns = Turns(
        ids=torch.zeros(1, 5, dtype=torch.long),
        offset=torch.zeros(1, 5, dtype=torch.long),
        segment=torch.tensor([[1, 1, 2, 2, 0]]),
        target=torch.tensor([[5, 6, IGNORED, 7, IGNORED]]),
        early=torch.full((1, 5), IGNORED),
    )
    assert turn_hits(turns, torch.tensor([True, False, True])) == [[False, True]]
