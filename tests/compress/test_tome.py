import pytest
import torch

from foveate.compress.tome import ToMe
from foveate.errors import InputError


def test_steps_are_even_and_at_most_halve():
    assert ToMe(0.25, steps=4).removals(100) == [19, 19, 19, 18]
    assert ToMe(0.05, steps=2).removals(100) == [
        48,
        26,
        13,
        6,
        2,
    ]  # 47.5 a step cannot be done twice
    assert ToMe(1.0).removals(100) == []


def test_keys_decide_and_sizes_weigh():
    # in two steps all four become one: an unweighted mean of means would be another number
    keys = torch.tensor([[[1.0, 0], [1, 0.01], [0, 1], [1, 1]]])
    features = torch.tensor([[[8.0], [0], [4], [100]]])
    once = ToMe(0.75, steps=1)(features, keys=keys)
    assert once.features[0, :, 0].tolist() == [4, 4, 100]
    assert once.size.tolist() == [[2, 1, 1]]
    all_ = ToMe(0.25, steps=3)(features, keys=keys)
    assert all_.features[0, :, 0].tolist() == [28]
    assert all_.size.tolist() == [[4]]


def test_bad_steps_are_refused():
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        ToMe(0.5, steps=0)
