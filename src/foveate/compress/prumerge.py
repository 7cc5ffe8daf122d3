"""PruMerge: the tokens that [CLS] attends to stay, and similar tokens are added to them.

Source: LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025), section 3: tokens are ranked by the attention of
[CLS]; to each kept one are added the 32 other tokens (kept or not) whose keys are most similar to its
own, weighted by their attention. PruMerge+ adds tokens spaced evenly over the picture.

What differs. The paper lets outliers of the attention decide how many stay (of 576 about 32, and with the
evenly spaced ones about 144); here `keep` does, so that methods can be compared at equal shares. The
published code appends one more token, the same sum over all tokens that were not kept; here it is left
out. It also takes attention and keys from the encoder's last layer as if that had one head; here both are
from the layer that makes the features, and attention is the mean over heads, in towers without [CLS] also
over all patches. Where a visual token is a block of patches, its attention is the mean of theirs, not the
sum. PruMerge+'s even spacing is over the tokens that attention did not choose, not over all.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.stride import spaced
from foveate.keep import kept_count
from foveate.knobs import Count, Share
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("prumerge", stage="before", paper="2403.15388")
@dataclass(frozen=True)
class PruMerge(Merging):
    """Keep the visual tokens that the vision encoder attends to, and add those like them to them.

    Attributes:
        keep: share of each group's tokens that is kept, in (0, 1].
        neighbours: how many other tokens are added to a kept one.
        spread: share of the kept tokens that are spaced evenly instead of chosen by attention.
    """

    neighbours: Count = 32
    spread: Share = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention and keys."""
        return ("attention", "keys")

    def __call__(
        self,
        features: Float[Tensor, "B N D"],
        attention: Float[Tensor, "B N"],
        keys: Float[Tensor, "B N K"],
    ) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B groups."""
        count = features.shape[1]
        stay = self.chosen(attention, kept_count(self.keep, count))
        unit = F.normalize(keys.float(), dim=-1)
        aims = unit.gather(1, stay[..., None].expand(-1, -1, unit.shape[2]))
        similar = (aims @ unit.mT).scatter(2, stay[..., None], -torch.inf)  # (B, K, N)
        near = similar.topk(min(self.neighbours, count - 1), dim=-1).indices
        taken = torch.zeros_like(similar, dtype=torch.bool).scatter(2, near, True)
        weight = (taken * attention[:, None].float()).scatter(2, stay[..., None], 1)
        summed = weight @ features.float()
        # a token may be added to several kept ones: it counts as part of the most similar one
        best = similar.masked_fill(~taken, -torch.inf).max(dim=1)
        into = stay.gather(1, best.indices).masked_fill(~taken.any(1), -1).scatter(1, stay, stay)
        tokens = VisionTokens.of(features).merge(stay, into)
        return replace(tokens, features=summed.to(features.dtype))

    def chosen(self, attention: Float[Tensor, "B N"], kept: int) -> Int[Tensor, "B K"]:
        """The tokens that stay: those with the most attention, and evenly spaced ones of the rest."""
        evenly = round(self.spread * kept)
        ranked = attention.argsort(dim=1, descending=True, stable=True)
        rest = ranked[:, kept - evenly :].sort(dim=1).values
        spread = rest[:, spaced(rest.shape[1], evenly).to(rest.device)]
        return torch.cat([ranked[:, : kept - evenly], spread], dim=1).sort(dim=1).values

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities and of the sums, taking features to be as wide as keys."""
        return 4 * tokens * kept_count(self.keep, tokens) * width


@register("prumerge-plus", stage="before", paper="2403.15388")
@dataclass(frozen=True)
class PruMergePlus(PruMerge):
    """PruMerge with three quarters of the kept visual tokens spaced evenly over the picture."""

    spread: Share = 0.75
