"""VTW: all visual tokens are withdrawn after one layer.

Source: VTW (arXiv 2405.05803, AAAI 2025), section 3: deep layers do not need visual tokens, for what they
say has moved into the text by then; the paper withdraws them after half of the layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.prune.schedule import Place, Schedule, ScheduledPruner, stages
from foveate.registry import register


@register("vtw", stage="inside", paper="2405.05803")
@dataclass(frozen=True)
class VTW(ScheduledPruner):
    """Withdraw all visual tokens after half of the layers.

    Attributes:
        after: how many layers see the visual tokens (the paper's K): a count (int) or a share of depth.
    """

    after: Place = 0.5

    def schedule(self, layers: int) -> Schedule:
        """No visual token is kept after the first `after` layers."""
        return stages((self.after,), 0, layers)

    @classmethod
    def candidates(cls, layers: int) -> "Sequence[VTW]":
        """Withdrawal after each layer but the last."""
        return [cls(after) for after in range(1, layers)]

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None = None,
        scaling: float | None = None,
    ) -> Float[Tensor, "B N"]:
        """Equal scores: no row is kept."""
        return torch.zeros(len(query), query.shape[2], device=query.device)

    def flops(self, rows: int, heads: int, head_dim: int) -> int:
        """0: nothing is scored."""
        return 0
