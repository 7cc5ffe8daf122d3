"""Pictures behind a cached history: each turn as the masked twin over all of it."""

import pytest
import torch
from transformers import DynamicCache

import foveate
from counted import counted_llm, head_flops
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.models.layout import Layout
from foveate.prune.aim import token_importance
from foveate.runtime.seams import on_cache
from foveate.testing import check_turns_are_masking
from foveate.testing import tiny as make_tiny

MERGE, PRUNE, BOTH = AIM(0.5, None), AIM(1.0, (1, 4)), AIM(0.5, (1, 4))
OFF = foveate.Reduction()
TURNS = {
    "merged": (MERGE, MERGE), "pruned": (PRUNE, PRUNE), "all": (BOTH, PRUNE, MERGE, OFF),
    "stock first": (OFF, BOTH), "fastv": (foveate.FastV(keep=0.5),) * 2,
}  # fmt: skip


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("name", families())
def test_each_turn_is_the_masked_twin_over_the_whole_history(name, turns):
    model, inputs = make_tiny(name)
    family = family_of(model)
    layout = Layout.of(family.language_model(model.model).config)
    if layout.shares_keys or family.blocks(inputs) is not None:
        with pytest.raises(
            UnsupportedError, match="behind a cached history cannot be reduced where"
        ):
            check_turns_are_masking(model, inputs, turns)
        return
    check_turns_are_masking(model, inputs, turns)


@pytest.mark.parametrize("first", [foveate.create("vtw", after=3), OFF], ids=["reduced", "stock"])
def test_the_report_of_a_later_turn_counts_what_is_cached(first):
    model, inputs = make_tiny("llava")
    model.set_attn_implementation("eager")
    cache = DynamicCache(config=model.model.language_model.config)
    for number, reduction in enumerate((first, MERGE), 1):
        seen = torch.ones(1, number * inputs["input_ids"].shape[1], dtype=torch.long)
        given = {**inputs, "attention_mask": seen, **on_cache(model, cache)}
        real, report = counted_llm(model, given, reduction)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert report.kv_bytes == held
    own = report.prefill_flops - head_flops(model) - merging(report)
    assert own == pytest.approx(real, rel=0.02)


def merging(report):
    """FLOPs of deciding what is merged with what, which happens before the LLM."""
    return MERGE.before.flops(report.visual_tokens_in[0], 64)


def test_new_rows_are_scored_as_if_all_were_scored_anew():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 4, 30, 8, generator=generator)
    valid = torch.ones(1, 30, dtype=torch.bool)
    valid[:, 12:14] = False
    anew = token_importance(query, key, valid=valid)[:, 20:]
    behind = token_importance(
        torch.nn.functional.pad(query[:, :, 20:], (0, 0, 20, 0)), key, valid=valid
    )
    torch.testing.assert_close(behind[:, 20:], anew)


def test_what_is_cached_may_not_be_hidden_afterwards():
    model, inputs = make_tiny("llava")
    cache, count = (
        DynamicCache(config=model.model.language_model.config),
        inputs["input_ids"].shape[1],
    )
    seen = torch.ones(1, 2 * count, dtype=torch.long)
    with torch.no_grad(), foveate.reduce(model, BOTH):
        model(**inputs, **on_cache(model, cache))
        seen[0, 3] = 0
        with pytest.raises(
            UnsupportedError, match="hides or shows tokens that are in the reduced cache"
        ):
            model(**{**inputs, "attention_mask": seen}, **on_cache(model, cache))
