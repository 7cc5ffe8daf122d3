"""ToMe: bipartite merging in small, even steps, every token weighted by the patches it stands for.

Source: ToMe (arXiv 2210.09461, ICLR 2023), section 3: tokens are matched by their attention keys, a
constant number is merged in each step, and means are weighted by size. The paper merges between the
layers of the encoder, by keys averaged over heads; here all steps are taken on the encoder's output, by
the keys of the layer that made it, of all heads side by side, which are merged too. The LLM's attention
is weighted by size (the paper's proportional attention) with `size_aware`, which rules out SDPA's fast
paths and so is not the default.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from foveate.compress.aim import merge_tokens
from foveate.compress.base import Merging
from foveate.keep import kept_count
from foveate.knobs import Count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("tome", stage="before", paper="2210.09461")
@dataclass(frozen=True)
class ToMe(Merging):
    """Merge visual tokens with similar attention keys in even steps, weighted by size.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        steps: in how many even steps tokens are merged, if a step need not merge more than half.
    """

    steps: Count = 8

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's keys."""
        return ("keys",)

    def __call__(
        self, features: Float[Tensor, "B N D"], keys: Float[Tensor, "B N K"]
    ) -> VisionTokens:
        """Merge B groups of N tokens down to `ceil(keep * N)` each."""
        removals = self.removals(features.shape[1])
        return merge_tokens(features, removals, weighted=True, metric=keys)

    def removals(self, tokens: int) -> list[int]:
        """Tokens to merge away in each step: the same number, capped at half of what is left."""
        target, removed = kept_count(self.keep, tokens), []
        even = math.ceil((tokens - target) / self.steps)
        while tokens > target:
            removed.append(min(even, tokens // 2, tokens - target))
            tokens -= removed[-1]
        return removed

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities of one group of `tokens`; `width` is that of the keys."""
        total = 0
        for removed in self.removals(tokens):
            total += 2 * (tokens - tokens // 2) * (tokens // 2) * width
            tokens -= removed
        return total
