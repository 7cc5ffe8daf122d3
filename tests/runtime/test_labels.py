"""Training through a reduction: labels follow the rows, gradients flow, layers may be checkpointed."""

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

import foveate
from foveate.combine.aim import AIM
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import families
from foveate.testing import check_loss_is_that_of_what_is_left
from foveate.testing import tiny as make_tiny
from labels import with_labels

HALF = AIM(0.5, (1, 4))
REDUCTIONS = {
    "merge": AIM(0.5, None),
    "prune": AIM(1.0, (1, 4)),
    "both": HALF,
    "fovea": foveate.create("fovea"),
}
RERUNS_HOOKS = "__call__" in vars(GradientCheckpointingLayer)  # older transformers do


@pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)
def test_the_loss_is_that_of_what_is_left(tiny, reduction):
    check_loss_is_that_of_what_is_left(*tiny, reduction)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_the_loss_of_a_ragged_batch_is_the_sum_of_its_samples(padding):
    family = families()["llava_next"]
    model, samples = family.tiny(), [[("image", 0)], [("image", 1), ("image", 0)]]
    every = [samples, *([sample] for sample in samples)]
    losses = []
    with foveate.reduce(model, HALF):
        for some in every:
            asked = with_labels(model, family.tiny_inputs(model.config, some, padding))
            first = asked["attention_mask"].cumsum(1) <= 1  # nothing, or padding, is before it
            asked["labels"] = asked["labels"].masked_fill(first, -100)
            losses.append(model(**asked, num_items_in_batch=1).loss)
    torch.testing.assert_close(losses[0], sum(losses[1:]))


def test_labels_are_left_as_they_were_given():
    model, inputs = make_tiny("llava")
    asked = with_labels(model, inputs)
    before = asked["labels"].clone()
    with foveate.reduce(model, HALF):
        model(**asked)
    assert torch.equal(asked["labels"], before)


def test_off_the_loss_is_stock():
    model, inputs = make_tiny("llava")
    asked = with_labels(model, inputs)
    stock = model(**asked).loss
    with foveate.reduce(model, foveate.Reduction()):
        assert torch.equal(model(**asked).loss, stock)


def test_labels_that_cannot_follow_are_refused():
    model, inputs = make_tiny("llava")
    asked = with_labels(model, inputs)
    labels, ids = asked["labels"], inputs["input_ids"]
    for refused, of in (
        ({"labels": ids}, "visual tokens have a label"),
        ({"labels": labels, "logits_to_keep": 2}, "logits_to_keep"),
        ({"labels": labels, "shift_labels": labels}, "shift_labels"),
        ({"labels": labels, "output_router_logits": True}, "routers"),
    ):
        with foveate.reduce(model, HALF), pytest.raises(UnsupportedError, match=of):
            model(**inputs, **refused)
    with foveate.reduce(model, HALF), pytest.raises(InputError, match="as the prompt"):
        model(**inputs, labels=labels[:, 1:])


@pytest.mark.parametrize("reentrant", [False, True])
def test_layers_that_are_checkpointed_have_the_same_gradients(tiny, reentrant):
    if RERUNS_HOOKS:
        pytest.skip("this transformers runs hooks twice, and is refused")
    model, inputs = tiny
    asked = with_labels(model, inputs)
    model.train()
    model.enable_input_require_grads()
    losses, gradients = [], []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.zero_grad()
        with foveate.reduce(model, HALF) as run:
            losses.append(model(**asked).loss)
            losses[-1].backward()
        assert run.report.fired
        gradients.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*losses)
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_checkpointing_where_layers_would_run_anew_without_the_method_is_refused():
    model, inputs = make_tiny("llava")
    model.train()
    model.gradient_checkpointing_enable()
    encode = foveate.Reduction(encode=foveate.ToMeEncoder(0.5))
    with foveate.reduce(model, encode), pytest.raises(UnsupportedError, match="vision layers"):
        model(**inputs)
    if RERUNS_HOOKS:
        with foveate.reduce(model, HALF), pytest.raises(UnsupportedError, match="upgrade"):
            model(**inputs)
