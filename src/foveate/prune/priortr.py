"""PriorTR: the visual tokens that get more attention for the question's sake than without one.

Source: PriorTR (arXiv 2606.24156, ECCV 2026) and its published code: after layer 2, P is the attention
that the question gives to each visual token, and Q, the prior, that of the first token behind the picture
(a separator), which under a causal mask has not seen the question. Both are means over heads, and divided
by their sums over the visual tokens; those with the largest P log(P / Q) stay.

The question is all text behind the last visual token, or its last token ("last", the code's choice for
LLaVA-NeXT). Where only one token is behind the picture, there is no question but the prior, and no token
is better than another: the earlier ones stay.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.prune.attention import all_valid, attention_received, last_rows, text_behind
from foveate.prune.schedule import Places, StagedPruner
from foveate.registry import register

TINY = 1e-10  # so that nothing is divided by 0


@register("priortr", stage="inside", paper="2606.24156")
@dataclass(frozen=True)
class PriorTR(StagedPruner):
    """After the second layer, drop the visual tokens that the question adds least attention to.

    Attributes:
        after: how many layers run before the drop, as a count (int) or a share of depth.
        keep: share of the visual tokens kept, in (0, 1]; 1.0 is off.
        voters: whose attention is the question's: all text "behind" the picture, or its "last" token.
    """

    after: Places = (2,)
    voters: Literal["behind", "last"] = "behind"

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
        """What the question adds to each visual token's attention; all other rows are last."""
        valid = all_valid(query, valid)
        own, behind = visual & valid, text_behind(visual, valid)
        null = behind & (behind.long().cumsum(1) == 1)
        question = behind if self.voters == "behind" else last_rows(valid)
        given, prior = (
            attention_received(query, key, rows, valid, scaling) * own for rows in (question, null)
        )
        given, prior = (each / (each.sum(1, keepdim=True) + TINY) for each in (given, prior))
        score = given * ((given + TINY) / (prior + TINY)).log()
        return score.masked_fill(~own, torch.finfo(score.dtype).min)

    def flops(self, rows: int, heads: int, head_dim: int, text: int = 0) -> int:
        """FLOPs of the question's rows of q k^T, and of the prior's."""
        return 2 * heads * head_dim * rows * ((text if self.voters == "behind" else 1) + 1)
