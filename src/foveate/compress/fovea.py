"""Fovea: of all that a sample shows, the tokens that differ most; the others are merged into them.

foveate's own method. AIM (arXiv 2412.03248) merges even tokens into odd ones, similar or not, and gives
every tile and frame the same share. Here the tokens that stay are chosen by max-min diversity (DivPrune,
arXiv 2503.02175, section 3.2) over the whole sample at once: images, tiles and frames share one budget,
and what a second view repeats is not kept twice. Every other token is averaged into the most similar kept
one. docs/concepts/fovea.md says how it was found and what it gains.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.divprune import diverse
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("fovea-merge", stage="before", paper="foveate")
@dataclass(frozen=True)
class FoveaMerge(Merging):
    """Keep what differs most in a whole sample, and merge the rest into it.

    Attributes:
        keep: share of each sample's tokens that is kept, in (0, 1].
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Groups are whole samples."""
        return ("sample",)

    def __call__(self, features: Float[Tensor, "B N D"]) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B samples, in reading order."""
        kept = diverse(features, kept_count(self.keep, features.shape[1])).sort(dim=1).values
        unit = F.normalize(features.float(), dim=-1)
        chosen = unit.gather(1, kept[..., None].expand(-1, -1, unit.shape[-1]))
        into = kept.gather(1, (unit @ chosen.mT).argmax(-1)).scatter(1, kept, kept)
        return VisionTokens.of(features).merge(kept, into)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the distances between all tokens of a sample, and to those that stay."""
        return 2 * tokens * (tokens + kept_count(self.keep, tokens)) * width
