import pytest
import torch

from foveate.compress.prumerge import PruMerge, PruMergePlus
from foveate.errors import InputError

FEATURES = torch.arange(6.0).view(1, 6, 1)
ATTENTION = torch.tensor([[0.1, 0.4, 0.1, 0.0, 0.3, 0.1]])
KEYS = torch.tensor([[[1.0, 0], [1, 0.1], [1, 0.3], [0.3, 1], [0, 1], [0.2, 1]]])


def test_kept_tokens_take_in_their_nearest_weighted_by_attention():
    tokens = PruMerge(1 / 3, neighbours=2)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.position.tolist() == [[1, 4]]
    first = (0.4 * 1 + 0.1 * 0 + 0.1 * 2) / 0.6
    second = (0.3 * 4 + 0.0 * 3 + 0.1 * 5) / 0.4
    assert tokens.features[0, :, 0].tolist() == pytest.approx([first, second])
    assert tokens.source.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_what_nobody_takes_in_is_dropped():
    tokens = PruMerge(1 / 3, neighbours=1)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.source.tolist() == [[0, 0, -1, -1, 1, 1]]


def test_a_token_may_be_taken_in_twice():
    tokens = PruMerge(1 / 3, neighbours=4)(FEATURES, attention=ATTENTION, keys=KEYS)
    everyone = sum(w * n for w, n in zip([0.1, 0.1, 0, 0.1], [0, 2, 3, 5], strict=True))
    assert tokens.features[0, 0, 0].item() == pytest.approx((0.4 + everyone) / 0.7)
    assert tokens.features[0, 1, 0].item() == pytest.approx((1.2 + everyone) / 0.6)


def test_plus_spreads_three_quarters():
    attention = torch.zeros(1, 16)
    attention[0, 15] = 1
    chosen = PruMergePlus(0.25).chosen(attention, 4)
    assert chosen.tolist() == [[2, 7, 12, 15]]  # the middles of the thirds of the other 15


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="neighbours must be at least 1, got 0"):
        PruMerge(0.5, neighbours=0)
    with pytest.raises(InputError, match=r"spread must be a share in \[0, 1\], got 2"):
        PruMerge(0.5, spread=2)
