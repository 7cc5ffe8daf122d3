"""Grids of tokens: how a grid is cut into fewer, larger cells."""

import torch
from jaxtyping import Int
from torch import Tensor


def smaller_grid(grid: tuple[int, int], cells: int) -> tuple[int, int]:
    """The largest grid of at most `cells` cells; of several, the one most like `grid` in shape.

    Args:
        grid: rows and columns of the tokens.
        cells: tokens that may be kept.
    """
    rows, columns = grid
    shapes = [(high, min(cells // high, columns)) for high in range(1, min(rows, cells) + 1)]
    within = [(high, wide) for high, wide in shapes if wide]

    def bent(shape: tuple[int, int]) -> float:
        ratio = shape[0] * columns / (shape[1] * rows)
        return max(ratio, 1 / ratio)

    # a row more is worth it only as long as cells stay less than twice as long as wide
    straight = [shape for shape in within if bent(shape) < 2] or [min(within, key=bent)]
    return max(straight, key=lambda shape: (shape[0] * shape[1], -bent(shape)))


def cells_of(grid: tuple[int, int], smaller: tuple[int, int]) -> Int[Tensor, " N"]:
    """The cell of the smaller grid that each token of the grid falls into, in reading order."""
    (rows, columns), (high, wide) = grid, smaller
    down = torch.arange(rows) * high // rows
    across = torch.arange(columns) * wide // columns
    return (down[:, None] * wide + across).flatten()


def middles_of(grid: tuple[int, int], smaller: tuple[int, int]) -> Int[Tensor, " K"]:
    """The token nearest to the middle of each cell, in reading order; it lies inside the cell."""
    (rows, columns), (high, wide) = grid, smaller
    down = _middles(rows, high)
    across = _middles(columns, wide)
    return (down[:, None] * columns + across).flatten()


def _middles(length: int, parts: int) -> Int[Tensor, " _"]:
    cell = torch.arange(length) * parts // length
    first = torch.searchsorted(cell, torch.arange(parts))
    after = torch.searchsorted(cell, torch.arange(parts), right=True)
    return (first + after - 1) // 2
