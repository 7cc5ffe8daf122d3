"""Pixel shuffle: the patches of a region side by side, through one linear layer.

Source: the pixel shuffle of Idefics3 (arXiv 2408.12637) and InternVL 1.5 (arXiv 2404.16821).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from foveate.compress.learned.base import Grid, register_learned
from foveate.compress.learned.regions import RegionCompressor, RegionConfig, regions


@dataclass(frozen=True)
class PixelShuffleConfig(RegionConfig):
    """Settings of the pixel shuffle."""


@register_learned("pixel-shuffle", config=PixelShuffleConfig, paper="2408.12637")
class PixelShuffle(RegionCompressor):
    """One token a region: its patches side by side through a linear layer."""

    def __init__(self, config: PixelShuffleConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.kernel**2 * config.width, config.width)

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """One token a region."""
        place = self._place(patches, grid)
        self.count(place, tokens)
        return self.linear(regions(patches, place, self.config.kernel)[0].flatten(2))

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """FLOPs of one tile; a multiply-add counts as 2."""
        side = self.config.kernel
        return 2 * self.count(grid, tokens) * side**2 * self.config.width**2
