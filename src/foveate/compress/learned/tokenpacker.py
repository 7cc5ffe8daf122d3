"""TokenPacker: each pixel of the downsampled patches attends to the finer features of its region.

Source: TokenPacker: Efficient Visual Projector for Multimodal LLM (arXiv 2407.02392), section 3.2.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foveate.compress.learned.base import Grid, as_grid, register_learned
from foveate.compress.learned.region_attention import (
    EPS,
    RegionAttention,
    RegionAttentionCompressor,
    RegionAttentionConfig,
)
from foveate.compress.learned.regions import region_grid


@dataclass(frozen=True)
class TokenPackerConfig(RegionAttentionConfig):
    """Settings of TokenPacker."""


@register_learned("tokenpacker", config=TokenPackerConfig, paper="2407.02392")
class TokenPacker(RegionAttentionCompressor):
    """One token a region: the picture shrunk bilinearly, each pixel attending to its region."""

    def __init__(self, config: TokenPackerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.query = nn.Sequential(nn.Linear(width, width, bias=False), nn.LayerNorm(width, EPS))
        self.find = RegionAttention(config.multi_level_width, width, config.heads)
        self.reset_parameters()

    @property
    def needs(self) -> tuple[str, ...]:
        """Several vision layers."""
        return ("multi_level",)

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """One token a region; the question is not used."""
        place, kernel = self._place(patches, grid), self.config.kernel
        self.count(place, tokens)
        small = F.interpolate(
            patches.mT.unflatten(2, place), size=region_grid(place, kernel), mode="bilinear"
        )
        queries = self.query(small.flatten(2).mT)[:, None]
        return self._found(queries, patches, multi_level, place)[:, 0]

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """FLOPs of one tile; a multiply-add counts as 2."""
        rows, columns = as_grid(grid or self.config.grid)
        made = self.count(grid, tokens)
        return 2 * made * self.config.width**2 + self.find.flops(rows * columns, made)
