"""Square regions of a grid of patches, for the compressors that make one token of each.

A side `kernel` that does not divide the grid leaves smaller regions at the right and bottom edge: a
grid of 27 x 27 has 7 x 7 regions of side 4, the last three patches wide. Every patch is in one region.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foveate.compress.learned import Grid, LearnedCompressor, LearnedConfig, as_grid
from foveate.errors import InputError

EPS = 1e-6  # of layer norms, as published


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

    held = torch.ones(1, grid[0] * grid[1], 1, device=patches.device)
    return cut(plane(patches, grid, kernel)), cut(plane(held, grid, kernel))[0, :, :, 0].bool()


def mean_of_regions(
    patches: Float[Tensor, "B N C"], grid: tuple[int, int], kernel: int
) -> Float[Tensor, "B n C"]:
    """Mean of the patches of each region; smaller ones at the edge count their own patches only."""
    parts, held = regions(patches, grid, kernel)
    return parts.sum(2) / held.sum(1)[:, None].to(parts.dtype)


@dataclass(frozen=True)
class RegionAttentionConfig(RegionConfig):
    """Settings of a compressor whose regions are attended to.

    Attributes:
        heads: of the attention; must divide the width.
        carry: whether the attention carries the patches along beside their values, which start at zero.
            Training then starts at a mean of patches, which a trained projector and LLM can read; without
            it a compressor's first tokens mean nothing to them. Ours: the published modules do not.
    """

    heads: int = 8
    carry: bool = False


class RegionAttention(nn.Module):
    """One query a region and question, which attends to that region's patches and to no other.

    The attention of TokenPacker (arXiv 2407.02392) and QueCC (arXiv 2411.03312): keys and values are from
    several vision layers, each through a two-layer MLP and a layer norm.
    """

    def __init__(self, multi_level_width: int, width: int, heads: int) -> None:
        super().__init__()
        if multi_level_width < 1:
            raise InputError(
                "several vision layers are looked at: name them in multi_level_layers, or give their "
                "multi_level_width; got none"
            )
        if width % heads:
            raise InputError(f"heads must divide the width {width}, got {heads}")
        self.widths = (multi_level_width, width)
        self.key = mlp(multi_level_width, width)
        self.value = mlp(multi_level_width, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(
        self,
        queries: Float[Tensor, "B q n D"],
        multi_level: Float[Tensor, "B N M"],
        grid: tuple[int, int],
        kernel: int,
        carried: Float[Tensor, "B N D"] | None = None,
    ) -> Float[Tensor, "B q n D"]:
        """What each region's query finds in its region.

        Args:
            queries: one a region, for each of q questions.
            multi_level: what keys and values are made of.
            grid: rows and columns of the patches.
            kernel: side of a region.
            carried: patches whose mean, weighted by the mean attention of all heads, is added.
        """
        keys, held = regions(self.key(multi_level), grid, kernel)
        values, _ = regions(self.value(multi_level), grid, kernel)
        batch = len(queries)
        absent = None if held.all() else ~held.repeat(batch, 1)
        found, weights = self.attention(
            queries.transpose(1, 2).flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            key_padding_mask=absent,
            need_weights=carried is not None,
        )
        if carried is not None:
            found = found + weights @ regions(carried, grid, kernel)[0].flatten(0, 1)
        return found.unflatten(0, (batch, -1)).transpose(1, 2)

    def flops(self, patches: int, regions: int) -> int:
        """Multiply-adds, counted twice: keys and values of all patches, then the attention."""
        wide, width = self.widths
        per_patch = 2 * (wide * width + width**2) + 2 * width**2 + 2 * width
        return 2 * (patches * per_patch + regions * 2 * width**2)


def mlp(inside: int, width: int) -> nn.Sequential:
    """Linear, GELU, linear, layer norm."""
    return nn.Sequential(
        nn.Linear(inside, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width, EPS)
    )


class RegionCompressor(LearnedCompressor):
    """Base of compressors that make one token of each region."""

    def reset_parameters(self) -> None:
        """Draw all weights anew; where patches are carried along, nothing else is at first."""
        super().reset_parameters()
        if getattr(self.config, "carry", False):
            nn.init.zeros_(self.find.attention.out_proj.weight)  # type: ignore[union-attr]
            nn.init.zeros_(self.find.attention.out_proj.bias)  # type: ignore[union-attr]

    def searching(self) -> list[nn.Parameter]:
        """Where patches are carried along, what decides which; the values can wait."""
        if not getattr(self.config, "carry", False):
            return super().searching()
        later = ("find.value.", "find.attention.out_proj.")
        return [part for name, part in self.named_parameters() if not name.startswith(later)]

    def counts(self, grid: Grid | None = None) -> tuple[int, ...]:
        """One count: the number of regions."""
        rows, columns = region_grid(as_grid(grid or self.config.grid), self.config.kernel)
        return (rows * columns,)
