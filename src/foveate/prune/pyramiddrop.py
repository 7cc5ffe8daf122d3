"""PyramidDrop: at three depths, half of the visual tokens go, by the last token's attention.

Source: PyramidDrop (arXiv 2410.17247, CVPR 2025), section 3.2: the layers are cut into stages; at the end
of each but the last, tokens are ranked by how much the last token of the instruction attends to them, and
the share lambda stays.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from foveate.prune.attention import all_valid, attention_received, last_rows
from foveate.prune.schedule import Places, StagedPruner
from foveate.registry import register


@register("pyramiddrop", stage="inside", paper="2410.17247")
@dataclass(frozen=True)
class PyramidDrop(StagedPruner):
    """At three depths, drop the half of the visual tokens with the least attention from the last token.

    Attributes:
        after: where the stages end, as counts of layers (int) or shares of depth; the paper has four
            equal stages.
        keep: share of the visual tokens that each stage hands on (the paper's lambda), in (0, 1].
    """

    after: Places = (0.25, 0.5, 0.75)

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None = None,
        scaling: float | None = None,
    ) -> Float[Tensor, "B N"]:
        """Attention of the last token to each row; the largest stay."""
        valid = all_valid(query, valid)
        return attention_received(query, key, last_rows(valid), valid, scaling)

    def flops(self, rows: int, heads: int, head_dim: int) -> int:
        """FLOPs of one row of q k^T."""
        return 2 * heads * head_dim * rows
