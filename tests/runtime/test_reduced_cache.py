"""A reduced cache: where it may be used, what else can be done with it, and whose decoding it times."""

import copy

import pytest
import torch
from transformers import DynamicCache

import foveate
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.reduced_cache import ReducedCache
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import tiny

REDUCTIONS = {"merged": AIM(0.5, None), "pruned": AIM(1.0, (1, 4)), "both": AIM(0.5, (1, 4))}
TURN = torch.tensor([[10, 11, 12, 13]])
NAMES = ("llava", "qwen2_vl", "gemma3")  # renumbered, on a grid, with windows


@pytest.fixture(params=families())
def one(request):
    """(model, inputs) of each family with one image."""
    return tiny(request.param)


@pytest.fixture(params=REDUCTIONS.values(), ids=list(REDUCTIONS))
def reduction(request):
    return request.param


@torch.no_grad()
def prefilled(model, inputs, reduction):
    """The cache of a prompt."""
    with foveate.reduce(model, reduction):
        return cache_in(model(**inputs, use_cache=True))


@torch.no_grad()
def turn(model, cache, prompts, tokens):
    """Logits (B, q, V) of new tokens behind the cached prompts, whose (B, N) mask is given."""
    mask = torch.cat([prompts, prompts.new_ones(tokens.shape)], dim=1)
    places = torch.arange(prompts.shape[1], mask.shape[1])[None]  # a prefill counts padding, too
    if family_of(model).grid_positions:
        places = mask.cumsum(1)[:, -tokens.shape[1] :] - 1
        places = (places + model.model.rope_deltas).expand(3, -1, -1)
    return model(
        input_ids=tokens, attention_mask=mask, position_ids=places, **on_cache(model, cache)
    ).logits


@pytest.mark.sampled
def test_a_reduced_cache_is_refused_outside_of_a_reduce(one, reduction):
    model, inputs = one
    cache, prompts = prefilled(model, inputs, reduction), inputs["attention_mask"]
    held = [layer for layer in cache.layers if hasattr(layer, "get_seq_length")]
    lengths = [layer.get_seq_length() for layer in held]
    with pytest.raises(UnsupportedError, match=r"inside `with foveate.reduce"):
        turn(model, cache, prompts, TURN)
    assert [layer.get_seq_length() for layer in held] == lengths
    # it is as good as before, in any reduce()
    branch = copy.deepcopy(cache)
    with foveate.reduce(model, reduction):
        expected = turn(model, cache, prompts, TURN)
    with foveate.reduce(model, foveate.Reduction()):
        assert torch.equal(turn(model, branch, prompts, TURN), expected)


@pytest.mark.sampled
@pytest.mark.parametrize("name", families())
def test_a_turn_at_once_is_its_tokens_one_by_one(name, reduction):
    model, _ = tiny(name)
    family = family_of(model)
    image = next(iter(family.placeholders(model.config)))
    inputs = family.tiny_inputs(model.config, [[(image, 0)], [], [(image, 1), (image, 2)]])
    tokens = torch.arange(10, 25).view(3, 5)
    mask = inputs["attention_mask"]
    cache = prefilled(model, inputs, reduction)
    branch = copy.deepcopy(cache)
    with foveate.reduce(model, reduction):
        whole = turn(model, cache, mask, tokens)
        for step in range(tokens.shape[1]):
            one = turn(model, branch, mask, tokens[:, step : step + 1])[:, 0]
            torch.testing.assert_close(one, whole[:, step], rtol=0, atol=1e-4)
            mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
    for at_once, stepwise in zip(cache.layers, branch.layers, strict=True):
        held = getattr(at_once, "keys", None), getattr(stepwise, "keys", None)
        if held[0] is None:  # a layer without attention remembers one state
            held = at_once.recurrent_states[0], stepwise.recurrent_states[0]
        torch.testing.assert_close(*held, rtol=0, atol=1e-4)


def test_a_cache_that_nothing_was_taken_from_is_a_stock_one(one):
    model, inputs = one
    prompts = inputs["attention_mask"]
    with torch.no_grad():
        stock = cache_in(model(**inputs, use_cache=True))
    cache = prefilled(model, inputs, foveate.Reduction())
    assert type(cache) is DynamicCache
    assert torch.equal(turn(model, cache, prompts, TURN), turn(model, stock, prompts, TURN))


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_samples_are_repeated_chosen_and_reordered_with_what_is_known_of_them(name, reduction):
    model, _ = tiny(name)
    samples = [[("image", 0)], [("image", 1), ("image", 2)]]
    inputs = family_of(model).tiny_inputs(model.config, samples)
    turns = torch.tensor([[10, 11, 12], [20, 21, 22], [30, 31, 32], [40, 41, 42]])
    alone = {}
    for number, sample in enumerate(samples):
        single = family_of(model).tiny_inputs(model.config, [sample])
        for row, tokens in enumerate(turns):
            cache = prefilled(model, single, reduction)
            with foveate.reduce(model, reduction):
                alone[number, row] = turn(model, cache, single["attention_mask"], tokens[None])[0]

    def check(change, numbers):
        cache = prefilled(model, inputs, reduction)
        if family_of(model).grid_positions:  # the model's own memory of the last prompt
            model.model.rope_deltas = model.model.rope_deltas[numbers]
        change(cache)
        with foveate.reduce(model, reduction):
            together = turn(model, cache, inputs["attention_mask"][numbers], turns[: len(numbers)])
        for row, number in enumerate(numbers):
            torch.testing.assert_close(together[row], alone[number, row], rtol=0, atol=1e-4)

    check(lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1])
    check(lambda cache: cache.batch_select_indices(torch.tensor([1])), [1])
    check(lambda cache: cache.reorder_cache(torch.tensor([1, 0])), [1, 0])


@pytest.mark.sampled
def test_a_cache_that_was_reset_takes_the_next_picture(one, reduction):
    model, inputs = one
    with torch.no_grad():
        stock = cache_in(model(**inputs, use_cache=True))
    stock.reset()
    if any(getattr(layer, "is_initialized", False) for layer in stock.layers):
        pytest.skip("stock: this transformers keeps the rows of a cache that is reset")
    cache = prefilled(model, inputs, reduction)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert type(cache) is DynamicCache
    assert vars(cache).keys() == vars(stock).keys()
    with torch.no_grad(), foveate.reduce(model, reduction) as run:
        expected = model(**inputs).logits
        assert torch.equal(model(**inputs, **on_cache(model, cache)).logits, expected)
    assert isinstance(cache, ReducedCache)
    assert run.report.fired


@pytest.mark.sampled
def test_cutting_a_reduced_cache_back_is_refused(one, reduction):
    model, inputs = one
    with pytest.raises(UnsupportedError, match="cannot be cut back"):
        prefilled(model, inputs, reduction).crop(-1)


def test_decoding_is_timed_with_the_prefill_that_it_continues(one):
    model, inputs = one
    prompts = inputs["attention_mask"]
    with torch.no_grad(), foveate.reduce(model, REDUCTIONS["both"]) as run:
        caches = [cache_in(model(**inputs, use_cache=True)) for _ in range(2)]
        model(input_ids=TURN)
        model.generate(TURN, max_new_tokens=3, do_sample=False)
        assert [report.seconds["decode"] for report in run.reports] == [0.0, 0.0]
        turn(model, caches[0], prompts, TURN)
        assert run.reports[0].seconds["decode"] > run.reports[1].seconds["decode"] == 0.0
        turn(model, caches[1], prompts, TURN)
        assert run.reports[1].seconds["decode"] > 0.0
