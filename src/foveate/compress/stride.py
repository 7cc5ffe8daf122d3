"""Every n-th token in reading order: a baseline that looks at nothing."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("stride", stage="before", role="baseline")
@dataclass(frozen=True)
class Stride(KeepShare):
    """Keep evenly spaced visual tokens, in reading order.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
    """

    def __call__(self, features: Float[Tensor, "B N D"]) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        groups, count, _ = features.shape
        index = spaced(count, kept_count(self.keep, count)).to(features.device)
        return VisionTokens.of(features).take(index.expand(groups, -1))

    def flops(self, tokens: int, width: int) -> int:
        """0: counting computes nothing."""
        return 0


def spaced(count: int, kept: int) -> Tensor:
    """`kept` of `count` places, each in the middle of its equal share of them."""
    return (torch.arange(kept) * 2 + 1) * count // (2 * kept)
