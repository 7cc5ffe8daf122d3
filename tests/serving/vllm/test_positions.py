"""Positions on a grid, without vLLM."""

import itertools

import pytest
import torch

from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.positions import (
    Block,
    grid_offsets,
    offsets_of,
    prompt_positions,
    runs,
    with_offsets,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_offsets_travel_exactly(dtype):
    numbers = torch.cat([torch.arange(2000), torch.tensor([4097, 32_769, 65_535])])
    offsets = torch.stack([numbers, numbers.flip(0), numbers // 2], dim=1)
    features = torch.randn(len(numbers), 8).to(dtype)
    carried = with_offsets(features, offsets)
    assert carried.dtype == dtype
    assert torch.equal(offsets_of(carried), offsets)
    assert torch.equal(carried[:, :8], features)


def test_a_grid_is_counted_from_its_first_position():
    layout = Layout.even([(2, 3)] * 2, is_clip=True)
    every = list(itertools.product(range(2), range(2), range(3)))
    assert grid_offsets(layout, 1.0).tolist() == [list(place) for place in every]
    assert grid_offsets(layout, 2.5)[:, 0].tolist() == [0] * 6 + [2] * 6
    assert grid_offsets(layout, 0.0)[:, 0].tolist() == [0] * 12


def test_text_stands_where_it_would_without_reduction():
    layout = Layout.even([(2, 3)])
    offsets = grid_offsets(layout, 0.0)
    whole, ahead = prompt_positions(12, [Block(2, 6, offsets, is_reduced=False)])
    some, ahead_of_less = prompt_positions(8, [Block(2, 2, offsets, is_reduced=True)])
    assert torch.equal(whole[:, :2], some[:, :2])
    assert torch.equal(whole[:, 8:], some[:, 4:])
    assert torch.equal(whole[:, 2:8], offsets.T + 2)
    assert (some[:, 2:4] == 2).all()
    assert (ahead, ahead_of_less) == (9 - 12, 9 - 8)


def test_runs_are_found_within_bounds():
    tokens = [7, 7, 0, 7, 1, 7, 7, 7]
    assert runs(tokens, 7, 0, 8) == [(0, 2), (3, 1), (5, 3)]
    assert runs(tokens, 7, 1, 6) == [(1, 1), (3, 1), (5, 1)]
    assert runs(tokens, 9, 0, 8) == []
