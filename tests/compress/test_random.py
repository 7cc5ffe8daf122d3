"""Baselines that look at nothing: random and stride."""

import pytest
import torch

from foveate.compress.random import Random
from foveate.compress.stride import Stride, spaced
from foveate.errors import InputError


def test_random_is_seeded_and_differs_by_group():
    features = torch.randn(3, 40, 2)
    number = torch.tensor([0, 1, 2])
    first = Random(0.25)(features, number=number)
    assert torch.equal(first.position, Random(0.25)(features, number=number).position)
    assert first.position.shape == (3, 10)
    assert not torch.equal(first.position[0], first.position[1])
    assert not torch.equal(first.position, Random(0.25, seed=1)(features, number=number).position)
    alone = Random(0.25)(features[1:2], number=number[1:2])
    assert torch.equal(alone.position[0], first.position[1])
    picked = features.gather(1, first.position[..., None].expand(-1, -1, 2))
    assert torch.equal(first.features, picked)


def test_random_draws_every_place_about_as_often():
    number = torch.arange(2000)
    drawn = Random(0.25)(torch.zeros(2000, 8, 1), number=number).position
    counts = torch.bincount(drawn.flatten())
    assert counts.min() > 420
    assert counts.max() < 580


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_bad_seed_is_refused(seed, untyped):
    with pytest.raises(InputError, match=r"seed must be .*at least 0, got"):
        Random(0.5, seed=seed)


def test_any_seed_is_one_that_torch_takes():
    number = torch.arange(2)
    large, small = (
        Random(0.5, seed=seed)(torch.zeros(2, 40, 1), number=number) for seed in (10**30, 1)
    )
    assert large.position.shape == (2, 20)
    assert not torch.equal(large.position, small.position)


def test_stride_takes_the_middle_of_equal_shares():
    assert spaced(9, 3).tolist() == [1, 4, 7]
    assert spaced(10, 4).tolist() == [1, 3, 6, 8]
    assert spaced(5, 5).tolist() == [0, 1, 2, 3, 4]
    tokens = Stride(0.3)(torch.arange(10.0).view(1, 10, 1))
    assert tokens.features[0, :, 0].tolist() == [1, 5, 8]
