"""Every family keeps the contract of `foveate.testing`."""

import json
from pathlib import Path

import pytest
import torch

from foveate import testing
from foveate.combine.aim import AIM
from foveate.compress.divprune import DivPrune
from foveate.cost.operation import Cost, Operation
from foveate.cost.vision import encoder
from foveate.cost.vision.encoder import Encoded
from foveate.cost.vision.tower import Tower
from foveate.models.family import families
from foveate.prune.fastv import FastV

RECORD = json.loads((Path(__file__).parent / "hand_written.json").read_text())
REDUCTIONS = [AIM(0.5, (1, 4)), AIM(1.0, (0, 3)), AIM(0.25, None), AIM(0.3, (2, 6))]
SHORT = [
    f"{reduction.before.keep} {getattr(reduction.inside, 'prune', None)}"
    for reduction in REDUCTIONS
]


@pytest.mark.every_family
@pytest.mark.parametrize("name", families())
def test_what_a_family_states_is_so(name):
    testing.check_family_is_as_stated(families()[name])


@pytest.mark.every_family
@pytest.mark.parametrize("name", families())
def test_a_family_has_a_cost(name):
    testing.check_family_has_a_cost(families()[name])


@pytest.mark.every_family
@pytest.mark.parametrize(("name", "modality"), testing.CASES)
def test_groups_are_those_of_the_pixels(name, modality):
    family = families()[name]
    model, _ = testing.tiny(name)
    samples = [[(modality, 0), (modality, 1)], [(modality, 2)]]
    testing.check_groups(model, family.tiny_inputs(model.config, samples))


@pytest.mark.parametrize(
    ("modality", "change", "fault"),
    [
        ("video", lambda n: torch.zeros_like(n), "4 of 49 tokens of group 0, which is not"),
        ("video", lambda n: n.roll(1), "3 of 4 tokens of group 0, 1 of 1 tokens of group 12"),
        ("video", lambda n: n // 2, "4 of 8 tokens of group 0"),
        ("image", lambda n: n + (n == 0) * (torch.arange(len(n)) < 3), "of 13 tokens of group 0"),
        (
            "image",
            lambda n: n.where(n < 5, 5 + torch.arange(len(n)) % 2),
            "groups .5, 6. of image 0",
        ),
    ],
)
def test_wrong_groups_break_the_contract(monkeypatch, modality, change, fault):
    family = families()["llava_onevision"]
    model, right = family.tiny(), family.groups
    monkeypatch.setattr(type(family), "groups", lambda *a: [change(n) for n in right(*a[1:])])
    with pytest.raises(AssertionError, match=fault):
        testing.check_groups(model, family.tiny_inputs(model.config, [[(modality, 0)]]))


def test_a_family_that_states_what_is_not_so_breaks_the_contract():
    for stated in (
        {"model_type": "llava_2"},
        {"model_class": ""},
        {"modalities": ("image", "video")},
        {"merge_at": ("llm",)},
    ):
        family = type("Wrong", (type(families()["llava"]),), stated)()
        with pytest.raises(AssertionError, match=r"llava.* states .*, its model says"):
            testing.check_family_is_as_stated(family)


def test_a_family_without_a_cost_breaks_the_contract(monkeypatch):
    llava, table = families()["llava"], encoder.encoders()
    monkeypatch.setattr(encoder, "_ENCODERS", table)
    file = r"Write src/foveate/cost/vision/llava.py: .* @register_encoder\(\"llava\"\)"
    free, work = Cost.of([]), Cost.of([(Operation(1, 1, 1), 1)])
    seen = (64, 64, Operation(1, 1, 1))
    for told, lacking in (
        (lambda config, media: Encoded((8,), Tower(work), free, *seen), "projector = 0"),
        (lambda config, media: Encoded((8,), Tower(free), work, *seen), "tower = 0"),
        (lambda config, media: Encoded((0,), Tower(work), work, *seen), "tokens = 0"),
        (lambda config, media: {}["size"], "KeyError: 'size'"),
        (None, "UnsupportedError: cannot tell the visual tokens of model type 'llava'"),
    ):
        table["llava"] = told
        if told is None:
            del table["llava"]
        with pytest.raises(AssertionError, match=f"image tokens of llava .*{lacking}.* {file}"):
            testing.check_family_has_a_cost(llava)


@pytest.mark.every_family
@pytest.mark.parametrize(("name", "modality"), [c for c in testing.CASES if c[0] not in RECORD])
def test_a_picture_and_a_clip_of_what_the_rules_carry(name, modality):
    """The one check that runs by default; `-m slow` has all."""
    model, inputs = testing.tiny(name, modality)
    testing.check_off_is_bit_identical(model, inputs)
    testing.check_dropping_is_masking(model, inputs, AIM(0.5, (1, 4)))


def test_a_method_alone_keeps_the_contract():
    model, inputs = testing.tiny("llava")
    testing.check_dropping_is_masking(model, inputs, DivPrune(0.5))
    testing.check_tokens_are_gone(model, inputs, FastV())


@pytest.mark.sampled
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_off_is_bit_identical(tiny, attention):
    model, inputs = tiny
    model.set_attn_implementation(attention)
    testing.check_off_is_bit_identical(model, inputs)


@pytest.mark.sampled
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=SHORT)
def test_dropping_is_masking(tiny, reduction, attention):
    model, inputs = tiny
    model.set_attn_implementation(attention)
    testing.check_dropping_is_masking(model, inputs, reduction)


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=SHORT)
def test_tokens_are_gone(tiny, reduction):
    testing.check_tokens_are_gone(*tiny, reduction)


def test_no_trace_is_left(tiny):
    testing.check_no_trace(*tiny, AIM(0.25, (2, 4)))


@pytest.mark.sampled
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("reduction", REDUCTIONS[:3], ids=SHORT[:3])
@pytest.mark.parametrize("name", families())
def test_a_batch_is_its_samples_alone(name, reduction, padding):
    family = families()[name]
    model, _ = testing.tiny(name)
    kinds = family.modalities
    # where clips are image tokens, stock models take no images beside them
    pairs = zip(kinds, kinds, strict=True) if family.clips_as_images else [(kinds[0], kinds[-1])]
    for first, last in pairs:
        samples = [
            [(first, 0)],
            [],
            [(last, 1), (first, 2)],
            [(first, 3), (last, 1), (first, 0), (first, 2)],
        ]
        testing.check_batch_is_samples_alone(model, samples, reduction, padding)
