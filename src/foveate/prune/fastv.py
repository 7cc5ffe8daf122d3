"""FastV: one drop after the first layers, of the tokens that get the least attention.

Source: FastV (arXiv 2403.06764, ECCV 2024), section 4: after layer K the share R of the visual tokens
with the lowest attention, averaged over heads and over the tokens that give it, is dropped.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from foveate.prune.attention import all_valid, attention_received, causal_pairs, last_rows
from foveate.prune.schedule import Places, StagedPruner
from foveate.registry import register


@register("fastv", stage="inside", paper="2403.06764")
@dataclass(frozen=True)
class FastV(StagedPruner):
    """After the second layer, drop the visual tokens that get the least attention.

    Attributes:
        after: how many layers run before the drop (the paper's K): a count (int) or a share of depth.
        keep: share of the visual tokens kept (the paper's 1 - R), in (0, 1]; 1.0 is off.
        voters: whose attention counts: "all" tokens', as the paper writes, or the "last" one's.
    """

    after: Places = (2,)
    voters: Literal["all", "last"] = "all"

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None = None,
        scaling: float | None = None,
    ) -> Float[Tensor, "B N"]:
        """Attention that each row gets in this layer; the largest stay."""
        valid = all_valid(query, valid)
        voters = valid if self.voters == "all" else last_rows(valid)
        return attention_received(query, key, voters, valid, scaling)

    def flops(self, rows: int, heads: int, head_dim: int) -> int:
        """FLOPs of scoring a layer of `rows` rows: the causal part of q k^T, or one row of it."""
        pairs = causal_pairs(rows, heads) if self.voters == "all" else rows
        return 2 * heads * head_dim * pairs
