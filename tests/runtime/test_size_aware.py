"""A token that stands for k patches counts as k equal tokens would, in all layers, through the cache."""

import copy

import pytest
import torch

import foveate
from foveate.compress.aim import AIMMerge
from foveate.compress.base import KeepShare, Merging
from foveate.errors import UnsupportedError
from foveate.models.family import families
from foveate.runtime.forget import forget_oldest
from foveate.runtime.seams import cache_in, on_cache
from foveate.runtime.size_aware import SizeAware
from foveate.testing import GREEDY, check_batch_is_samples_alone, check_no_trace, tiny
from twins import repeated_states

MERGE = AIMMerge(0.25, size_aware=True)
STAGED = foveate.Reduction(before=MERGE, inside=foveate.FastV(after=(1,), keep=0.5))
LINED = ("llava", "llava_onevision")  # one position a row, causal everywhere
MIXED = ("llava_onevision", "qwen2_5_vl", "gemma3", "gemma4", "internvl", "lfm2_vl")


def handed(model, inputs, reduction, **options):
    """What the LLM is handed for the prompt, what `generate` returns, and the report."""
    seen = []
    with foveate.reduce(model, reduction) as run:
        llm = families()[model.config.model_type].language_model(model.model)
        hook = llm.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True
        )
        out = model.generate(
            **inputs, **GREEDY, output_logits=True, return_dict_in_generate=True, **options
        )
        hook.remove()
    return seen[0], out, run.report, llm


def stands_for(report, rows, before):
    """How many patches each row stands for, the visual ones behind `before` others."""
    sizes = torch.ones(rows, dtype=torch.long)
    for token in range(report.visual_tokens_to_llm[0]):
        sizes[before + token] = report.merged_into[0].count(token)
    return sizes


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("reduction", [MERGE, STAGED], ids=["merged", "merged and pruned"])
@pytest.mark.parametrize("name", LINED)
@torch.no_grad()
def test_one_token_counts_as_so_many_equal_ones(name, reduction, attention):
    model, inputs = tiny(name)
    model.set_attn_implementation(attention)
    call, out, report, llm = handed(model, inputs, reduction)
    embeds, positions = call["inputs_embeds"], call["position_ids"]
    placeholder = next(iter(families()[name].placeholders(model.config).values()))
    before = (inputs["input_ids"][0] == placeholder).nonzero()[0].item()
    sizes = stands_for(report, embeds.shape[1], before)
    assert sizes.max() > 1
    said = out.sequences[:, inputs["input_ids"].shape[1] : -1]
    embeds = torch.cat([embeds, llm.embed_tokens(said)], dim=1)
    positions = torch.cat([positions, positions[:, -1:] + 1 + torch.arange(said.shape[1])], dim=1)
    dropped = {}
    for token, after in enumerate(report.pruned_after[0]):
        dropped.setdefault(after, set()).add(before + token)
    dropped.pop(None, None)
    assert bool(dropped) == (reduction is STAGED)
    sizes = torch.cat([sizes, torch.ones(said.shape[1], dtype=torch.long)])
    states = repeated_states(llm, embeds, positions, sizes, dropped)
    logits = model.lm_head(states[:, -said.shape[1] - 1 :])
    torch.testing.assert_close(torch.stack(out.logits, dim=1), logits, rtol=0, atol=1e-5)
    _, without, *_ = handed(model, inputs, AIMMerge(0.25))
    assert (out.logits[0] - without.logits[0]).abs().max() > 1e-4, "sizes made no difference"


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", MIXED)
def test_a_batch_is_its_samples_alone(name, padding):
    if name not in families():
        pytest.skip(f"transformers has no {name}")
    model, _ = tiny(name)
    slides = getattr(model.config.get_text_config(), "sliding_window", None)
    if slides and padding == "right":
        pytest.skip("padding behind a short sample counts as rows of a sliding window")
    reduction = MERGE if name == "lfm2_vl" else STAGED
    samples = [[("image", 0)], [], [("image", 0), ("image", 0)]]
    check_batch_is_samples_alone(model, samples, reduction, padding)


@pytest.mark.parametrize("name", MIXED)
@torch.no_grad()
def test_a_later_turn_is_what_generating_it_token_by_token_is(name):
    if name not in families():
        pytest.skip(f"transformers has no {name}")
    model, inputs = tiny(name)
    if families()[name].grid_positions:
        pytest.skip("stock forwards of several new tokens need positions on the grid")
    with foveate.reduce(model, MERGE):
        cache = cache_in(model(**inputs, use_cache=True))
        twin = copy.deepcopy(cache)
        ids, mask = torch.tensor([[3, 5, 7]]), inputs["attention_mask"]
        together = model(
            input_ids=ids,
            attention_mask=torch.cat([mask, mask.new_ones(1, 3)], dim=1),
            **on_cache(model, cache),
        ).logits
        for step in range(3):
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            alone = model(
                input_ids=ids[:, step : step + 1], attention_mask=mask, **on_cache(model, twin)
            ).logits
            torch.testing.assert_close(together[:, step], alone[:, 0], rtol=0, atol=1e-5)


class Forgetful(dict):
    """A dictionary in which nothing is found again."""

    def __contains__(self, key):
        return False


@torch.no_grad()
def test_layers_with_as_many_but_other_rows_count_their_own(monkeypatch):
    model, inputs = tiny("llava")
    ids = inputs["input_ids"]
    with foveate.reduce(model, STAGED):
        cache = cache_in(model(**inputs, use_cache=True))
    forget_oldest(cache, 4)
    first, *_, last = cache.state.sizes.log
    assert first.shape == last.shape
    assert not torch.equal(first, last)
    later = {**inputs, "attention_mask": ids.new_ones(1, 2 * ids.shape[1])}
    logits, clear = [], SizeAware.clear
    for kind in (dict, Forgetful):
        monkeypatch.setattr(
            SizeAware, "clear", lambda self, kind=kind: (clear(self), setattr(self, "made", kind()))
        )
        with foveate.reduce(model, MERGE):
            logits.append(model(**later, **on_cache(model, copy.deepcopy(cache))).logits)
    torch.testing.assert_close(*logits, rtol=0, atol=1e-6)


def test_beams_keep_their_samples_sizes():
    model, _ = tiny("llava_onevision")
    family = families()["llava_onevision"]
    inputs = family.tiny_inputs(model.config, [[("image", 0)], [("image", 1)]], "left")
    options = {"num_beams": 3, "max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    with foveate.reduce(model, MERGE):
        both = model.generate(**inputs, **options)
        for number in range(2):
            one = family.tiny_inputs(model.config, [[("image", number)]], "left")
            alone = model.generate(**one, **options)
            assert alone[0, -8:].tolist() == both[number, -8:].tolist()


def test_no_trace_is_left():
    model, inputs = tiny("llava_onevision")
    check_no_trace(model, inputs, STAGED)


@pytest.mark.parametrize("reduction", [AIMMerge(1.0, size_aware=True), AIMMerge(0.25)])
def test_where_sizes_are_not_asked_for_nothing_is_added(reduction, monkeypatch):
    model, inputs = tiny("llava_onevision")
    wanted = []
    monkeypatch.setattr(
        "foveate.runtime.size_aware.log_sizes", lambda target: wanted.append(target)
    )
    with torch.no_grad():
        stock = model(**inputs).logits
        with foveate.reduce(model, reduction):
            logits = model(**inputs).logits
    assert not wanted
    if reduction.is_off:
        assert torch.equal(stock, logits)


def test_a_choice_for_each_prompt_may_be_size_aware():
    model, inputs = tiny("llava_onevision")
    with torch.no_grad():
        with foveate.reduce(model, foveate.Reduction(before=MERGE)):
            fixed = model(**inputs).logits
        with foveate.reduce(model, lambda *_: foveate.Reduction(before=MERGE)):
            chosen = model(**inputs).logits
    assert torch.equal(fixed, chosen)


def test_attention_that_takes_nothing_added_is_refused():
    model, inputs = tiny("llava_onevision")
    config = model.model.language_model.config
    config._attn_implementation = "flash_attention_2"
    message = r"'flash_attention_2' cannot count .* works: eager, sdpa, or size_aware=False"
    with (
        torch.no_grad(),
        pytest.raises(UnsupportedError, match=message),
        foveate.reduce(model, MERGE),
    ):
        model(**inputs)


def test_what_merges_can_be_size_aware_and_what_only_selects_cannot():
    kinds = {name: row.build for name, row in foveate.methods().items() if row.stage == "before"}
    merging = {name for name, kind in kinds.items() if issubclass(kind, Merging)}
    assert merging == {
        "aim-merge", "apet", "fastvid", "flashvid", "fovea-merge", "holitom", "pool", "prumerge",
        "prumerge-plus", "tome", "visionzip",
    }  # fmt: skip
    for name in ("random", "divprune", "stride"):
        assert issubclass(kinds[name], KeepShare)
        with pytest.raises(foveate.errors.InputError, match="size_aware"):
            foveate.create(name, size_aware=True)
