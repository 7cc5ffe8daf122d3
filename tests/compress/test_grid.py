"""Grids, and the two baselines that work on them: pooling and resizing."""

import pytest
import torch
import torch.nn.functional as F

from foveate.compress.grid import cells_of, middles_of, smaller_grid
from foveate.compress.pool import Pool
from foveate.compress.resize import ResizeGrid


@pytest.mark.parametrize(
    ("grid", "cells", "smaller"),
    [
        ((12, 12), 36, (6, 6)),
        ((14, 14), 49, (7, 7)),
        ((12, 12), 72, (8, 9)),  # 72 exactly beats 8 x 8
        ((6, 6), 5, (2, 2)),  # 1 x 5 would be long cells
        ((8, 16), 32, (4, 8)),
        ((9, 1), 3, (3, 1)),
        ((1, 7), 2, (1, 2)),
        ((6, 6), 36, (6, 6)),
        ((5, 5), 1, (1, 1)),
    ],
)
def test_the_largest_grid_that_fits(grid, cells, smaller):
    assert smaller_grid(grid, cells) == smaller


@pytest.mark.parametrize(
    ("grid", "smaller"), [((4, 4), (2, 2)), ((5, 7), (2, 3)), ((3, 3), (3, 1))]
)
def test_every_cell_holds_its_middle(grid, smaller):
    cells, middles = cells_of(grid, smaller), middles_of(grid, smaller)
    assert cells[middles].tolist() == list(range(smaller[0] * smaller[1]))
    assert sorted(middles.tolist()) == middles.tolist()


def test_pool_averages_cells():
    features = torch.arange(16.0).view(1, 16, 1)  # 0 1 2 3 / 4 5 6 7 / ...
    pooled = Pool(0.25)(features, grid=(4, 4))
    assert pooled.features[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pooled.size.tolist() == [[4, 4, 4, 4]]
    assert pooled.source[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    assert pooled.position[0].tolist() == [0, 2, 8, 10]


def test_resize_is_a_picture_resize():
    source = torch.Generator().manual_seed(0)
    features = torch.randn(2, 35, 3, generator=source)
    resized = ResizeGrid(0.25)(features, grid=(5, 7))
    picture = features.mT.reshape(2, 3, 5, 7)
    expected = F.interpolate(picture, (3, 3), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized.features, expected.flatten(2).mT)
    assert resized.size.sum(1).tolist() == [35, 35]
    constant = ResizeGrid(0.25)(torch.ones(1, 35, 3), grid=(5, 7)).features
    torch.testing.assert_close(constant, torch.ones_like(constant))
