"""Resizing: the grid of tokens is resampled like a picture, with antialiased bilinear interpolation.

It stands in for the field's honest baseline, a smaller picture. A picture is made smaller before the
encoder, by the processor, which saves no token if the tower has a fixed resolution; resampling the
encoder's output works on every family and at any budget, but saves nothing in the encoder. Where the
number of tokens follows the picture's size, `foveate measure --methods resize` makes the picture itself
smaller.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.compress.grid import cells_of, middles_of, smaller_grid
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("resize-grid", stage="before", role="baseline")
@dataclass(frozen=True)
class ResizeGrid(KeepShare):
    """Resample each grid of visual tokens to a smaller one, as a picture is resized.

    The smaller grid has as many tokens as fit into `ceil(keep * n)`.

    Attributes:
        keep: share of each group's tokens that may be kept, in (0, 1].
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows and columns of each group."""
        return ("grid",)

    def __call__(self, features: Float[Tensor, "B N D"], grid: tuple[int, int]) -> VisionTokens:
        """Resize each of B groups of N tokens."""
        groups, count, width = features.shape
        smaller = smaller_grid(grid, kept_count(self.keep, count))
        picture = features.mT.reshape(groups, width, *grid).float()
        resized = F.interpolate(picture, smaller, mode="bilinear", antialias=True)
        kept = middles_of(grid, smaller).to(features.device)
        into = kept[cells_of(grid, smaller).to(features.device)]
        tokens = VisionTokens.of(features).merge(kept.expand(groups, -1), into.expand(groups, -1))
        return replace(tokens, features=resized.flatten(2).mT.to(features.dtype))

    def kept(self, tokens: int, grid: tuple[int, int] | None = None, **known: Any) -> int:
        """Cells of the smaller grid; the most that it can have if the grid is not known."""
        most = kept_count(self.keep, tokens)
        return most if grid is None else math.prod(smaller_grid(grid, most))

    def flops(self, tokens: int, width: int) -> int:
        """Two passes, down and across; in each a feature is multiplied and added about twice."""
        return 2 * 4 * tokens * width
