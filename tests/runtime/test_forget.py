"""A budget for what a cache holds of pictures: what stays, and what the cache knows of it."""

import copy

import pytest
import torch

import foveate
from foveate.compress.tome import ToMe
from foveate.runtime.forget import forget_oldest, shown_rows, stays_within
from foveate.runtime.reduced_cache import Sizes
from foveate.runtime.saved_cache import cache_to_dict, fill_cache
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import tiny


@pytest.mark.parametrize("most", range(1, 11))
def test_the_oldest_give_up_first(most):
    shown = torch.tensor([0, 0, 0, 0, -1, 0, -1, 1, 1, 1, 1])
    left = stays_within(shown, most)
    assert left[shown < 0].all()
    assert int(left[shown == 1].sum()) == min(most, 4)
    assert int(left[shown == 0].sum()) == min(max(most - 4, 0), 5)


def test_what_stays_of_a_picture_lies_evenly():
    left = stays_within(torch.zeros(12, dtype=torch.long), 4)
    assert left.nonzero()[:, 0].tolist() == [1, 4, 7, 10]


@torch.no_grad()
def test_layers_with_as_many_rows_of_other_pictures_give_up_their_own():
    model, inputs = tiny("llava")
    ids = inputs["input_ids"]
    with foveate.reduce(model, foveate.AIM(0.5, None)):
        cache = cache_in(model(**inputs, use_cache=True))
    later = {**inputs, "attention_mask": ids.new_ones(1, 2 * ids.shape[1])}
    with foveate.reduce(model, foveate.AIM(0.5, (1, 4))):
        model(**later, **on_cache(model, cache))
    forget_oldest(cache, 12)
    state = cache.state
    shown = [state.shown.of_rows(n, rows, rows)[0] for n, rows in enumerate(state.lengths)]
    keys = [layer.keys for layer in cache.layers]
    assert len({len(rows) for rows in shown}) == 1
    assert len({tuple(rows.tolist()) for rows in shown}) > 2
    forget_oldest(cache, 6)
    for layer, rows, before in zip(cache.layers, shown, keys, strict=True):
        assert torch.equal(layer.keys, before[..., stays_within(rows, 6), :])


@pytest.fixture
def counted():
    """A cache that counts a token as the patches it stands for."""
    model, inputs = tiny("llava")
    model.set_attn_implementation("eager")
    with torch.no_grad(), foveate.reduce(model, ToMe(keep=0.5, size_aware=True)):
        return model, cache_in(model(**inputs, use_cache=True))


def test_sizes_follow_the_rows_that_are_left(counted):
    _, cache = counted
    before, tokens, held = cache.state.sizes, cache.state.prompt_length, cache.state.lengths[0]
    stays = stays_within(shown_rows(cache)[0], 3)
    log = before.of_keys(0, tokens, held)[:, stays]
    forget_oldest(cache, 3)
    assert torch.equal(cache.state.sizes.of_keys(0, tokens, int(stays.sum())), log)
    assert cache.state.lengths == [layer.keys.shape[-2] for layer in cache.layers]


def test_a_cache_is_written_down_with_all_that_it_knows(counted, tmp_path):
    model, cache = counted
    torch.save(cache_to_dict(cache), tmp_path / "cache.pt")
    again = type(cache).__bases__[1](config=model.config.get_text_config())
    fill_cache(again, torch.load(tmp_path / "cache.pt", weights_only=True), model.device)
    for one, other in zip(cache.layers, again.layers, strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
    assert isinstance(again.state.sizes, Sizes)
    forgotten = copy.deepcopy(cache)
    for some in (again, forgotten):
        forget_oldest(some, 3)
    assert again.state.lengths == forgotten.state.lengths
    assert len({id(rows) for rows in again.state.shown.prompt}) == 1
