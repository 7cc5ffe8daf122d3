"""SparseVLM: the words that look at the picture say which visual tokens stay.

Source: SparseVLM (arXiv 2410.04417, ICML 2025), sections 3.2 and 3.3: text tokens that are more tied to
the picture than the mean text token are the raters, and a visual token is worth the attention that the
raters give it. Three things differ from the paper, so that any budget can be met exactly and dropping
stays dropping: raters are chosen in each scoring layer by the attention that they give to visual tokens
(the paper: once, by the similarity of embeddings); how many stay follows a schedule (the paper: the rank
of the attention matrix); dropped tokens are not recycled into new ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.prune.attention import all_valid, attention_received, attention_rows, text_behind
from foveate.prune.schedule import Places, StagedPruner
from foveate.registry import register


@register("sparsevlm", stage="inside", paper="2410.04417")
@dataclass(frozen=True)
class SparseVLM(StagedPruner):
    """At three depths, drop the visual tokens with the least attention from the words about the picture.

    Attributes:
        after: where tokens are dropped, as counts of layers (int) or shares of depth; by default after
            2, 6 and 15 of 32 layers.
        keep: share of the visual tokens that each drop leaves, in (0, 1].
    """

    after: Places = (0.0625, 0.1875, 0.46875)

    @property
    def needs(self) -> tuple[str, ...]:
        """Which rows are visual tokens: the others are text."""
        return ("visual",)

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None,
        scaling: float | None,
        visual: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N"]:
        """Attention of the raters to each row; the largest stay."""
        valid = all_valid(query, valid)
        text = text_behind(visual, valid)
        tie = torch.zeros(visual.shape, device=query.device)  # of each text row to the picture
        for rows, is_real, attention in attention_rows(query, key, text, valid, scaling):
            given = (attention * visual[:, None, : attention.shape[-1]]).sum(-1)
            tie.scatter_add_(1, rows, given * is_real)
        mean = tie.sum(1, keepdim=True) / text.sum(1, keepdim=True)
        return attention_received(query, key, text & (tie >= mean), valid, scaling)

    def flops(self, rows: int, heads: int, head_dim: int, text: int = 0) -> int:
        """FLOPs of the `text` rows of q k^T to choose the raters, taken to be half, and of their rows."""
        return 3 * heads * head_dim * rows * text
