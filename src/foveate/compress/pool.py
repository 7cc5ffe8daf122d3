"""Average pooling: the grid of tokens is cut into cells, and each becomes its mean."""

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.grid import cells_of, middles_of, smaller_grid
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("pool", stage="before", role="baseline")
@dataclass(frozen=True)
class Pool(Merging):
    """Average the visual tokens of each cell of a coarser grid.

    The coarser grid has as many cells as fit into `ceil(keep * n)`.

    Attributes:
        keep: share of each group's tokens that may be kept, in (0, 1].
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows and columns of each group."""
        return ("grid",)

    def __call__(self, features: Float[Tensor, "B N D"], grid: tuple[int, int]) -> VisionTokens:
        """Pool each of B groups of N tokens."""
        groups, count, _ = features.shape
        smaller = smaller_grid(grid, kept_count(self.keep, count))
        kept = middles_of(grid, smaller).to(features.device)
        into = kept[cells_of(grid, smaller).to(features.device)]
        return VisionTokens.of(features).merge(kept.expand(groups, -1), into.expand(groups, -1))

    def kept(self, tokens: int, grid: tuple[int, int] | None = None, **known: Any) -> int:
        """Cells of the smaller grid; the most that it can have if the grid is not known."""
        most = kept_count(self.keep, tokens)
        return most if grid is None else math.prod(smaller_grid(grid, most))

    def flops(self, tokens: int, width: int) -> int:
        """One addition for each feature."""
        return tokens * width
