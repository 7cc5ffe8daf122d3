"""Every registered method keeps the contract of `foveate.testing`: on some family, (slow) on all."""

import pytest
import torch

import foveate
from foveate import testing
from foveate.errors import UnsupportedError
from foveate.models.family import families
from foveate.reduction import Reduction, at_share, create

METHODS = [
    name
    for name, method in foveate.methods().items()
    if not name.startswith("aim") and method.stage != "encode"  # whose twin is in test_shortened
]


NO_PATCHES = (
    "foveate_compressed",
    "aria",
    "idefics2",
    "lfm2_vl",
)  # no token is a patch of one layer


def reduction_of(name: str) -> Reduction:
    """The method at a middling strength; at six layers its default may drop too little to see."""
    inside = foveate.methods()[name].stage == "inside"
    return create(name) if inside else create(name, keep=0.3)


def needs_the_encoder(reduction: Reduction) -> bool:
    """Whether the method asks what the vision encoder knows of its patches."""
    before = reduction.before
    return before is not None and not {"attention", "keys"}.isdisjoint(before.needs)


def check_refusal(model, inputs, reduction: Reduction) -> None:
    """Of learned tokens and queries the encoder knows nothing; the model stays as it was."""
    with torch.no_grad():
        stock = model(**inputs).logits
        with (
            pytest.raises(UnsupportedError, match="which vision layer to watch"),
            foveate.reduce(model, reduction),
        ):
            model(**inputs)
        assert torch.equal(model(**inputs).logits, stock)


@pytest.mark.sampled
@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_the_contract(name, tiny):
    reduction = reduction_of(name)
    model, inputs = tiny
    if model.config.model_type in NO_PATCHES and needs_the_encoder(reduction):
        check_refusal(model, inputs, reduction)
        return
    testing.check_dropping_is_masking(model, inputs, reduction)
    testing.check_tokens_are_gone(model, inputs, reduction)
    testing.check_no_trace(model, inputs, reduction)


@pytest.mark.sampled
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_samples_alone(name, family, padding):
    known, reduction = families()[family], reduction_of(name)
    model, inputs = testing.tiny(family)
    if family in NO_PATCHES and needs_the_encoder(reduction):
        check_refusal(model, inputs, reduction)
        return
    first, *others = known.placeholders(model.config)
    last = others[0] if others else first
    samples = [[(first, 0)], [], [(last, 1), (first, 2)], [(first, 3), (last, 1), (first, 0)]]
    testing.check_batch_is_samples_alone(model, samples, reduction, padding)


@pytest.mark.parametrize(
    "name", [name for name in METHODS if needs_the_encoder(reduction_of(name))]
)
def test_a_compressors_tokens_are_refused(name):
    check_refusal(*testing.tiny("foveate_compressed"), reduction_of(name))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS
        if foveate.methods()[name].stage != "both"  # these prune as well
        and "keep" in foveate.methods()[name].build.__dataclass_fields__
    ],
)
def test_keeping_all_is_bit_identical(name):
    model, inputs = testing.tiny("llava_onevision", "video")
    with torch.no_grad():
        stock = model(**inputs).logits
        with foveate.reduce(model, create(name, keep=1.0)) as run:
            off = model(**inputs).logits
    assert torch.equal(stock, off)
    assert not run.report.fired
    assert run.report.prefill_flops == run.report.prefill_flops_unreduced


@pytest.mark.parametrize("name", METHODS)
def test_a_method_meets_its_share(name):
    model, inputs = testing.tiny("llava_onevision", "video")
    reduction = at_share(foveate.methods()[name], 0.5, 6)
    with torch.no_grad(), foveate.reduce(model, reduction) as run:
        model(**inputs)
    report = run.report
    by_layer = report.visual_tokens_by_layer[0]
    share = sum(by_layer) / len(by_layer) / report.visual_tokens_in[0]
    assert share == pytest.approx(0.5, abs=0.05)
