"""MQT: learned queries attend to all patches; as many of the first ones are kept as are asked for.

Source: Matryoshka Query Transformer for Large Vision-Language Models (arXiv 2405.19315), section 3. In
training the count is drawn anew for every step, so that the first queries learn to say the most.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.compress.learned.base import (
    Grid,
    LearnedCompressor,
    LearnedConfig,
    as_grid,
    register_learned,
)
from foveate.errors import InputError


@dataclass(frozen=True)
class MQTConfig(LearnedConfig):
    """Settings of MQT.

    Attributes:
        most: learned queries, the most tokens that can be asked for.
        heads: of the attention; must divide the width.
    """

    most: int = 256
    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1 or self.width % self.heads or self.width % 4:
            raise InputError(
                f"most must be at least 1, heads and 4 must divide the width, got {self}"
            )


@register_learned("mqt", config=MQTConfig, paper="2405.19315")
class MQT(LearnedCompressor):
    """The first m of a row of learned queries, each seeing all patches; m is chosen at each call."""

    def __init__(self, config: MQTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.queries = nn.Parameter(torch.empty(config.most, width))
        self.inside = nn.Sequential(nn.Linear(width, width, bias=False), nn.LayerNorm(width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.outside = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width, bias=False))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        nn.init.normal_(self.queries, std=0.02)

    def counts(self, grid: Grid | None = None) -> tuple[int, ...]:
        """Any count up to `most`."""
        return tuple(range(self.config.most, 0, -1))

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """What the first `tokens` queries attend to."""
        place = self._place(patches, grid)
        queries = self.norm(self.queries[: self.count(place, tokens)])
        values = self.inside(patches)
        keys = values + places(place, self.config.width).to(values)
        attended, _ = self.attention(
            queries.expand(len(patches), -1, -1), keys, values, need_weights=False
        )
        return self.outside(attended)

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """FLOPs of one tile; a multiply-add counts as 2."""
        rows, columns = as_grid(grid or self.config.grid)
        patches, made, width = rows * columns, self.count(grid, tokens), self.config.width
        return 2 * (3 * patches * width**2 + 3 * made * width**2 + 2 * made * patches * width)


def places(grid: tuple[int, int], width: int) -> Float[Tensor, "N D"]:
    """Sines and cosines of each patch's row and column, row by row."""
    rows, columns = grid
    pitch = torch.exp(-math.log(1e4) * torch.arange(width // 4) / (width // 4))
    down = torch.arange(rows).repeat_interleave(columns)[:, None] * pitch
    across = torch.arange(columns).repeat(rows)[:, None] * pitch
    return torch.cat([down.sin(), down.cos(), across.sin(), across.cos()], dim=1)
