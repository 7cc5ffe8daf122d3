"""Rivals are asked and trained alike, however their questions are laid out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.compressors.cell import COUNTS, RIVALS, Trainee, counts_of
from benchmarks.compressors.draw import draw
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.tokens import END


def trainee(vlm, name, tokens=4):
    made = Trainee(vlm.model, Packer(vlm.processor.tokenizer), RIVALS[name], tokens, seed=0)
    made.model.eval()
    return made


def slow_loss(made, levels, asked, tokens):
    """Mean over questions, each alone in its sequence, of the mean over its answer's tokens."""
    losses = []
    for row, part in enumerate(asked):
        for question in part:
            alone = [level if level is None else level[row : row + 1] for level in levels]
            states, turns = made.states(alone, [[question]], tokens)
            targets = [(at, t) for at, t in enumerate(turns.target[0].tolist()) if t >= 0]
            logits = made.model.lm_head(states[0])
            losses.append(
                sum(nn.functional.cross_entropy(logits[at], torch.tensor(t)) for at, t in targets)
                / len(targets)
            )
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", RIVALS)
def test_the_loss_is_each_questions_own(vlm, sets, quick, name):
    made = trainee(vlm, name)
    rows, asked = draw(sets["train"], quick, 0, 0)
    assert max(map(len, asked)) > 1
    levels = sets["train"].batch(rows)
    with torch.no_grad():
        found, expected = made.loss(levels, asked, 4), slow_loss(made, levels, asked, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RIVALS)
def test_a_step_lowers_the_loss(vlm, sets, quick, name):
    made = trainee(vlm, name)
    rows, asked = draw(sets["train"], quick, 0, 0)
    levels, parameters = sets["train"].batch(rows), list(made.model.parameters())
    before = made.loss(levels, asked, 4)
    slopes = torch.autograd.grad(before, parameters, allow_unused=True)
    reached = {
        name for (name, _), slope in zip(made.model.named_parameters(), slopes, strict=True)
        if slope is not None
    }  # fmt: skip
    assert not any("vision_tower" in name for name in reached)
    with torch.no_grad():
        for parameter, slope in zip(parameters, slopes, strict=True):
            if slope is not None:
                parameter -= 0.01 * slope
        assert made.loss(levels, asked, 4) < before


def decoded(vlm, made, levels, question):
    """What greedy decoding writes before it stops, token by token, at most as long as the answer."""
    said, answer = "", question.answer
    while len(said) <= len(answer):
        states, turns = made.states(levels, [[replace(question, answer=said)]], 4)
        last = int((turns.target[0] >= 0).nonzero()[-1, 0])  # where the end would follow
        token = vlm.processor.tokenizer.decode([int(made.model.lm_head(states[0, last]).argmax())])
        if token == END:
            break
        said += token
    return said


@pytest.mark.parametrize("name", ["quecc", "average-pool"])
def test_right_is_what_greedy_decoding_says(vlm, sets, name):
    made, val = trainee(vlm, name), sets["val"]
    optimizer = torch.optim.Adam(made.model.parameters(), lr=1e-2)
    first = val.questions[0][0]
    for _ in range(60):
        optimizer.zero_grad()
        made.loss(val.batch([0]), val.questions[:1], 4).backward()
        optimizer.step()
        with torch.no_grad():
            if decoded(vlm, made, val.batch([0]), first) == first.answer:
                break  # it knows the first answer by heart
    with torch.no_grad():
        expected = [
            decoded(vlm, made, val.batch([row]), one) == one.answer
            for row, (one,) in enumerate(val.questions)
        ]
    assert made.right(val, 4) == made.right(val, 4, size=3) == expected
    assert expected[0]
    assert not all(expected)


def test_elastic_rivals_are_trained_at_all_counts(vlm):
    steps = range(60)
    m3, mqt, pool = (
        [counts_of(RIVALS[name], 4, step, 0) for step in steps]
        for name in ("m3", "mqt", "average-pool")
    )
    assert m3 == [list(COUNTS)] * 60
    assert {count for counts in mqt for count in counts} == set(COUNTS)
    assert {len(counts) for counts in mqt} == {1}
    assert pool == [[4]] * 60
