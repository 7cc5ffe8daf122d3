"""`VisionTokens`: visual tokens that remember which patches they are made of.

Methods decide, `VisionTokens` gathers: every token carries how many patches it stands for and every
patch knows the token it went to, so a picture of any reduction can be drawn and checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class VisionTokens:
    """The tokens of B groups (tiles or frames) of equal length.

    Attributes:
        features: (B, N, D), one row a token.
        size: (B, N), patches that each token stands for.
        source: (B, S), for each of the S original patches the row it is part of, -1 once dropped.
        position: (B, N), the original patch at whose place each token sits.
    """

    features: Float[Tensor, "B N D"]
    size: Int[Tensor, "B N"]
    source: Int[Tensor, "B S"]
    position: Int[Tensor, "B N"]

    @classmethod
    def of(cls, features: Float[Tensor, "B N D"]) -> "VisionTokens":
        """Untouched tokens: each row is its own patch."""
        rows = torch.arange(features.shape[1], device=features.device).expand(features.shape[:2])
        return cls(features, torch.ones_like(rows), rows, rows)

    @classmethod
    def stacked(cls, parts: Sequence["VisionTokens"]) -> "VisionTokens":
        """Groups of equal lengths one under the other."""
        columns = ("features", "size", "source", "position")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in columns))

    def take(self, index: Int[Tensor, "B K"]) -> "VisionTokens":
        """Keep the rows `index`, in that order; the patches of the others are dropped."""
        return self.merge(index, torch.full_like(self.size, -1).scatter(1, index, index))

    def merge(
        self,
        kept: Int[Tensor, "B K"],
        into: Int[Tensor, "B N"],
        *,
        weighted: bool = False,
    ) -> "VisionTokens":
        """Average every row into a kept one; sums are fp32 also of half-precision features.

        Args:
            kept: (B, K), the rows that survive, in the order of the result.
            into: (B, N), the kept row each row goes to (a kept row goes to itself), -1 to drop it.
            weighted: weigh rows by the patches that they stand for; otherwise each counts once.

        Returns:
            K tokens a group, each the mean of the rows that went to it.
        """
        groups, rows, width = self.features.shape
        rank = torch.full((groups, rows + 1), -1, device=kept.device)
        rank.scatter_(1, kept, torch.arange(kept.shape[1], device=kept.device).expand_as(kept))
        target = rank.gather(1, into.where(into >= 0, rows))
        # dropped rows go to a spare last token, which is cut off again
        slot = target.where(target >= 0, kept.shape[1])
        features = self.features.to(torch.promote_types(self.features.dtype, torch.float32))
        weight = (self.size if weighted else torch.ones_like(self.size)).to(features.dtype)
        shape = (groups, kept.shape[1] + 1)
        flat = slot + torch.arange(groups, device=slot.device)[:, None] * shape[1]
        total = features.new_zeros(groups * shape[1], width)
        total.index_add_(0, flat.flatten(), (features * weight[..., None]).flatten(0, 1))
        total = total.view(*shape, width)
        mass = weight.new_zeros(shape).scatter_add_(1, slot, weight)
        size = self.size.new_zeros(shape).scatter_add_(1, slot, self.size)
        dropped = target.new_full((groups, 1), -1)
        return VisionTokens(
            features=(total[:, :-1] / mass[:, :-1, None]).to(self.features.dtype),
            size=size[:, :-1],
            source=torch.cat([target, dropped], dim=1).gather(
                1, self.source.where(self.source >= 0, rows)
            ),
            position=self.position.gather(1, kept),
        )
