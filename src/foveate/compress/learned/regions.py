"""Square regions of a grid of patches, for the compressors that make one token of each.

A side `kernel` that does not divide the grid leaves smaller regions at the right and bottom edge: a
grid of 27 x 27 has 7 x 7 regions of side 4, the last three patches wide. Every patch is in one region.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.compress.learned.base import Grid, LearnedCompressor, LearnedConfig, as_grid
from foveate.errors import InputError


@dataclass(frozen=True)
class RegionConfig(LearnedConfig):
    """Settings of a compressor that makes one token of each region.

    Attributes:
        kernel: side of a region, in patches.
    """

    kernel: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1:
            raise InputError(f"kernel must be at least 1 patch, got {self.kernel}")


def region_grid(grid: tuple[int, int], kernel: int) -> tuple[int, int]:
    """Rows and columns of regions."""
    return math.ceil(grid[0] / kernel), math.ceil(grid[1] / kernel)


def plane(
    patches: Float[Tensor, "B N C"], grid: tuple[int, int], kernel: int, mode: str = "constant"
) -> Float[Tensor, "B C H W"]:
    """Patches as a picture whose sides `kernel` divides.

    Args:
        patches: row by row.
        grid: their rows and columns.
        kernel: side of a region.
        mode: what fills smaller regions: "constant" zeros, or "replicate", the edge again.
    """
    rows, columns = grid
    picture = patches.mT.unflatten(2, grid)
    spare = (0, -columns % kernel, 0, -rows % kernel)
    return F.pad(picture, spare, mode=mode) if any(spare) else picture


def regions(
    patches: Float[Tensor, "B N C"], grid: tuple[int, int], kernel: int
) -> tuple[Float[Tensor, "B n k C"], Bool[Tensor, "n k"]]:
    """Patches region by region, k = kernel^2 places each, and which places hold a patch."""

    def cut(picture: Tensor) -> Tensor:
        across = picture.unflatten(3, (-1, kernel)).unflatten(2, (-1, kernel))
        return across.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)

    is_patch = torch.ones(1, grid[0] * grid[1], 1, device=patches.device)
    return cut(plane(patches, grid, kernel)), cut(plane(is_patch, grid, kernel))[0, :, :, 0].bool()


def mean_of_regions(
    patches: Float[Tensor, "B N C"], grid: tuple[int, int], kernel: int
) -> Float[Tensor, "B n C"]:
    """Mean of the patches of each region; smaller ones at the edge count their own patches only."""
    parts, is_patch = regions(patches, grid, kernel)
    return parts.sum(2) / is_patch.sum(1)[:, None].to(parts.dtype)


class RegionCompressor(LearnedCompressor):
    """Base of compressors that make one token of each region."""

    def counts(self, grid: Grid | None = None) -> tuple[int, ...]:
        """One count: the number of regions."""
        rows, columns = region_grid(as_grid(grid or self.config.grid), self.config.kernel)
        return (rows * columns,)
