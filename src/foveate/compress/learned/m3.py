"""M3: average pooling at several scales; the scale is chosen at each call.

Source: Matryoshka Multimodal Models (arXiv 2405.17430), section 3. The loss is the mean over all scales.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from foveate.compress.learned.base import (
    Grid,
    LearnedCompressor,
    LearnedConfig,
    as_grid,
    register_learned,
)
from foveate.compress.learned.regions import mean_of_regions, region_grid
from foveate.errors import InputError


@dataclass(frozen=True)
class M3Config(LearnedConfig):
    """Settings of M3.

    Attributes:
        kernels: side of a region at each scale, in patches, the finest first.
    """

    kernels: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kernels", tuple(self.kernels))
        rising = list(self.kernels) == sorted(set(self.kernels))
        if not self.kernels or not rising or self.kernels[0] < 1:
            raise InputError(f"kernels must rise from at least 1, got {self.kernels}")


@register_learned("m3", config=M3Config, paper="2405.17430")
class M3(LearnedCompressor):
    """Means of regions at nested scales, the scale chosen at each call. No weights."""

    def __init__(self, config: M3Config) -> None:
        super().__init__()
        self.config = config

    def counts(self, grid: Grid | None = None) -> tuple[int, ...]:
        """The tokens of each scale, the finest first."""
        return tuple(self._kernels(as_grid(grid or self.config.grid)))

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """Means of the regions of one scale."""
        place = self._place(patches, grid)
        return mean_of_regions(patches, place, self._kernels(place)[self.count(place, tokens)])

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """One addition for each feature."""
        rows, columns = as_grid(grid or self.config.grid)
        return rows * columns * self.config.width

    def _kernels(self, grid: tuple[int, int]) -> dict[int, int]:
        """Tokens of a scale -> its kernel; of two kernels that give as many, the smaller."""
        made: dict[int, int] = {}
        for kernel in self.config.kernels:
            rows, columns = region_grid(grid, kernel)
            made.setdefault(rows * columns, kernel)
        return made
