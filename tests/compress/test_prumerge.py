import pytest
import torch

from foveate.compress.prumerge import PruMerge, PruMergePlus
from foveate.errors import InputError

FEATURES = torch.arange(6.0).view(1, 6, 1)
ATTENTION = torch.tensor([[0.1, 0.4, 0.1, 0.0, 0.3, 0.1]])
KEYS = torch.tensor([[[1.0, 0], [1, 0.1], [1, 0.3], [0.3, 1], [0, 1], [0.2, 1]]])


def test_the_nearest_are_added_times_their_attention():
    tokens = PruMerge(1 / 3, neighbours=2)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.position.tolist() == [[1, 4]]
    first = 1 + 0.1 * 0 + 0.1 * 2
    second = 4 + 0.0 * 3 + 0.1 * 5
    assert tokens.features[0, :, 0].tolist() == pytest.approx([first, second])
    assert tokens.source.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_what_nobody_takes_in_is_dropped():
    tokens = PruMerge(1 / 3, neighbours=1)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.features[0, :, 0].tolist() == pytest.approx([1 + 0.1 * 0, 4 + 0.1 * 5])
    assert tokens.source.tolist() == [[0, 0, -1, -1, 1, 1]]


def test_a_neighbour_may_be_kept_itself_and_be_taken_in_twice():
    # the four nearest of token 1 are all but 4, those of token 4 all but 0: token 1 among them
    tokens = PruMerge(1 / 3, neighbours=4)(FEATURES, attention=ATTENTION, keys=KEYS)
    shared = 0.1 * 2 + 0.0 * 3 + 0.1 * 5
    first = 1 + 0.1 * 0 + shared
    second = 4 + 0.4 * 1 + shared
    assert tokens.features[0, :, 0].tolist() == pytest.approx([first, second])
    assert tokens.source.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_more_neighbours_than_tokens_are_all_the_others():
    tokens = PruMerge(1 / 6)(FEATURES, attention=ATTENTION, keys=KEYS)
    others = 0.1 * 0 + 0.1 * 2 + 0.0 * 3 + 0.3 * 4 + 0.1 * 5
    assert tokens.features[0, :, 0].tolist() == pytest.approx([1 + others])


def test_plus_spreads_three_quarters():
    attention = torch.zeros(1, 16)
    attention[0, 15] = 1
    chosen = PruMergePlus(0.25).chosen(attention, 4)
    assert chosen.tolist() == [[2, 7, 12, 15]]  # the middles of the thirds of the other 15


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="neighbours must be at least 1, got 0"):
        PruMerge(0.5, neighbours=0)
    for method in (PruMerge, PruMergePlus):
        with pytest.raises(InputError, match=r"spread must be a share in \[0, 1\], got 2"):
            method(0.5, spread=2)
