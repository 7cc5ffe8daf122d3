"""Average pooling: each token is the mean of a region; only the projector behind it is learned."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from foveate.compress.learned.base import Grid, as_grid, register_learned
from foveate.compress.learned.regions import RegionCompressor, RegionConfig, mean_of_regions


@dataclass(frozen=True)
class AveragePoolConfig(RegionConfig):
    """Settings of average pooling."""


@register_learned("average-pool", config=AveragePoolConfig)
class AveragePool(RegionCompressor):
    """One token a region: the mean of its patches. No weights."""

    def __init__(self, config: AveragePoolConfig) -> None:
        super().__init__()
        self.config = config

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
        return mean_of_regions(patches, place, self.config.kernel)

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """One addition for each feature."""
        rows, columns = as_grid(grid or self.config.grid)
        return rows * columns * self.config.width
