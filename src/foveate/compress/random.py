"""A random choice of tokens: the baseline that a clever choice must beat."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.keep import kept_count
from foveate.knobs import Range
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("random", stage="before", role="baseline")
@dataclass(frozen=True)
class Random(KeepShare):
    """Keep visual tokens drawn at random, the same ones in every run.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        seed: of the draw.
    """

    seed: Annotated[int, Range(least=0)] = 0

    @property
    def needs(self) -> tuple[str, ...]:
        """The group's number in its sample: frames draw differently, and alike in a batch and alone."""
        return ("number",)

    def __call__(self, features: Float[Tensor, "B N D"], number: Int[Tensor, " B"]) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        count = features.shape[1]
        # torch's seeds go no further
        seeds = [(2**20 * self.seed + n) % 2**64 for n in number.tolist()]
        kept = [
            torch.randperm(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        index = torch.stack(kept)[:, : kept_count(self.keep, count)].sort(dim=1).values
        return VisionTokens.of(features).take(index.to(features.device))

    def flops(self, tokens: int, width: int) -> int:
        """0: drawing computes nothing."""
        return 0
