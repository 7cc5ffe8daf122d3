"""LLMs whose layers are unlike each other: without attention, with shared keys, with heads by layer."""

import re
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

import foveate
from counted import counted_llm, head_flops
from foveate import testing
from foveate.combine.aim import AIM
from foveate.cost.llm import prefill_cost
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.models.layout import Layout
from foveate.models.tiny.models import TINY
from foveate.prune.fastv import FastV
from foveate.prune.vtw import VTW
from foveate.runtime.seams import cache_in, on_cache
from foveate.runtime.target import Target
from foveate.testing import tiny as make_tiny

HYBRID = Layout(
    ("linear_attention",) * 3 + ("full_attention",) + ("linear_attention",) * 2, (0, 1, 2, 3, 4, 5)
)
SMALL = {
    "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 128, "use_bidirectional_attention": None,
    "attention_k_eq_v": False, "num_global_key_value_heads": None,
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """A small Gemma 4: embeddings for each layer, and the last two layers read keys of layers 2 and 3."""
    import transformers

    real = transformers.Gemma4Config

    def config(text_config, **more):
        kinds = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
        kinds += ["sliding_attention", "full_attention"]
        return real(text_config={**text_config, **SMALL, "layer_types": kinds}, **more)

    monkeypatch.setattr(transformers, "Gemma4Config", config)
    return make_tiny("gemma4")


# --- what is asked of them ------------------------------------------------------------------------


def test_tokens_are_rated_by_the_last_layer_that_attended():
    schedule = AIM(0.5, (3, 6)).inside.schedule(6)
    assert not HYBRID.refusal(schedule)
    assert HYBRID.rating_layers(schedule) == {3}
    assert HYBRID.rating_layers({4: Fraction(0)}) == set()


def test_tokens_are_not_rated_before_a_layer_has_attended():
    told = HYBRID.refusal(FastV(after=(2,)).schedule(6))
    assert re.search(r"rated after layer 1: the first .* attends is 3", told)


@pytest.fixture
def late(monkeypatch):
    """A Qwen3.5 whose first layers do not attend, as in the real ones."""
    kinds = ["linear_attention"] * 3 + ["full_attention", "linear_attention", "full_attention"]
    row = TINY["qwen3_5"]
    text = {**row.config["text_config"], "layer_types": kinds}
    monkeypatch.setitem(TINY, "qwen3_5", replace(row, config={**row.config, "text_config": text}))
    return make_tiny("qwen3_5", "video")


def test_a_schedule_before_any_attention_is_refused_at_once(late):
    early = r"after layer 0: the first layer of this LLM that attends is 3 \(then 5\)"
    with pytest.raises(UnsupportedError, match=early), foveate.reduce(late[0], AIM(1.0, (0, 3))):
        pass


@pytest.mark.parametrize("reduction", [AIM(0.5, (3, 6)), FastV(after=(5,)), VTW(after=1)], ids=str)
def test_scores_hold_until_another_layer_attends(late, reduction):
    testing.check_dropping_is_masking(*late, reduction)
    testing.check_tokens_are_gone(*late, reduction)


def test_padding_behind_the_cache_is_refused_where_a_layer_does_not_attend(late):
    model, inputs = late
    with torch.no_grad(), foveate.reduce(model, AIM(0.5, None)):
        cache = cache_in(model(**inputs, use_cache=True))
        mask = torch.cat([inputs["attention_mask"], torch.tensor([[1, 0]])], dim=1)
        with pytest.raises(UnsupportedError, match="layers without attention"):
            model(input_ids=torch.tensor([[5, 0]]), attention_mask=mask, **on_cache(model, cache))


def test_a_layer_that_does_not_attend_remembers_nothing_that_is_refused(late):
    model, inputs = late
    with torch.no_grad(), foveate.reduce(model, AIM(0.5, None)):
        cache = cache_in(model(**inputs, use_cache=True))
    first = cache.layers[0]
    before = first.conv_states[0].clone(), first.recurrent_states[0].clone()
    with torch.no_grad(), pytest.raises(UnsupportedError, match=r"inside `with foveate.reduce"):
        model(input_ids=torch.tensor([[5]]), **on_cache(model, cache))
    assert torch.equal(first.conv_states[0], before[0])
    assert torch.equal(first.recurrent_states[0], before[1])


def test_layers_of_another_kind_are_refused():
    model, _ = make_tiny("llava")
    model.config.text_config.layer_types = ["full_attention"] * 5 + ["chunked_attention"]
    odd = r"layers of kind chunked_attention \(known: full_att"
    with pytest.raises(UnsupportedError, match=odd), foveate.reduce(model, AIM(0.5, None)):
        pass


def test_a_layer_without_the_attention_that_its_config_names_is_refused():
    model, _ = make_tiny("qwen3_5")
    model.config.text_config.layer_types = ["full_attention"] * 6
    fault = "a layer of kind full_attention, has no self_attn"
    with pytest.raises(UnsupportedError, match=fault), foveate.reduce(model, AIM(0.5, None)):
        pass


def test_nothing_is_dropped_where_later_layers_read_keys_of_before(small):
    model, inputs = small
    for late in (AIM(1.0, (1, 4)), FastV(after=(3,))):
        shared = r"read the keys of layer 2 .* over by layer 2"
        with pytest.raises(UnsupportedError, match=shared), foveate.reduce(model, late):
            pass
    with torch.no_grad(), foveate.reduce(model, AIM(1.0, (0, 2))) as run:
        model(**inputs)
    assert run.report.visual_tokens_by_layer[0][2:] == [0] * 4


# --- the contract where layers share keys ---------------------------------------------------------

INSIDE = {"merge": AIM(0.25, None), "prune": AIM(1.0, (0, 2)), "both": AIM(0.5, (0, 2))}


@pytest.mark.parametrize("reduction", INSIDE.values(), ids=INSIDE)
def test_shared_keys_keep_the_contract(small, reduction):
    testing.check_dropping_is_masking(*small, reduction)


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_batches_with_shared_keys(small, reduction, padding):
    model, _ = small
    samples = [[("image", 0)], [], [("video", 1), ("image", 2)]]
    testing.check_batch_is_samples_alone(model, samples, reduction, padding)


def test_off_and_bytes_with_shared_keys(small):
    model, inputs = small
    testing.check_off_is_bit_identical(model, inputs)
    with torch.no_grad(), foveate.reduce(model, AIM(0.5, (0, 2))) as run:
        cache = cache_in(model(**inputs))
    held = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    assert len(held) == 4
    assert run.report.kv_bytes == sum(part.nbytes for l in held for part in (l.keys, l.values))


@pytest.mark.parametrize("count", [1, 3])
def test_rows_that_an_llm_cuts_are_not_counted(small, count):
    """The last layers read keys alone: an LLM may hand them no more rows than its head is asked for."""
    model, inputs = small
    with torch.no_grad(), foveate.reduce(model, AIM(0.5, (0, 2))) as run:
        whole = model(**inputs).logits
        cut = model(**inputs, logits_to_keep=count).logits
    assert cut.shape[1] == count
    torch.testing.assert_close(cut, whole[:, -count:], rtol=0, atol=1e-5)
    first, second = run.reports
    assert second.prefill_flops <= first.prefill_flops
    assert second.prefill_flops_unreduced <= first.prefill_flops_unreduced
    assert first.visual_tokens_by_layer[0][:4] == second.visual_tokens_by_layer[0][:4]


# --- reports --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reduction", [foveate.Reduction(), foveate.create("vtw", after=3)], ids=str
)
@pytest.mark.parametrize("name", families())
def test_flops_are_those_that_torch_counts(name, reduction):
    model, inputs = make_tiny(name)
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    real, report = counted_llm(model, inputs, reduction)
    assert report.prefill_flops - head_flops(model) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("count", [0, 1])
def test_flops_with_shared_keys_are_those_that_torch_counts(small, count):
    model, inputs = small
    model.set_attn_implementation("eager")
    for reduction in (foveate.Reduction(), VTW(after=2)):
        real, report = counted_llm(model, inputs, reduction, logits_to_keep=count)
        assert report.prefill_flops - head_flops(model) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("name", families())
def test_a_config_alone_tells_the_same_as_the_model(name):
    model, inputs = make_tiny(name)
    sizes = Target.of(model, family_of(model)).sizes
    visual, text = [60] * sizes.layers, 40
    read, told = (prefill_cost(of, visual, text) for of in (sizes, model.config))
    assert read.flops == pytest.approx(told.flops, rel=0.001)
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction()) as run:
        model(**inputs)
    (sample,) = run.report.samples
    told = prefill_cost(model.config, [sample.visual_tokens_in] * sizes.layers, sample.text_tokens)
    assert sample.kv_bytes == told.cache_bytes(4)
