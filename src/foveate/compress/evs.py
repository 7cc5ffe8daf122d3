"""EVS: the first frame of a clip stays, and of the others what changed since the frame before.

Source: Efficient Video Sampling (arXiv 2510.14624), section 3, and its published code in vLLM
(`video_pruning_rate`): a token's change is one minus its cosine similarity to the token at the same place
of the previous frame; those of the whole clip that changed most stay, beside all of the first frame. The
paper thresholds differences of pixels, which methods do not see; the code compares embeddings, as here.

What differs: `keep` is met also where it does not hold the first frame, as in an image, a clip of one
frame, of which EVS drops nothing. Then evenly spaced tokens of the first frame stay, and no others.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.compress.stride import spaced
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("evs", stage="before", paper="2510.14624")
@dataclass(frozen=True)
class EVS(KeepShare):
    """Keep a clip's first frame and the visual tokens that changed most since the frame before.

    Attributes:
        keep: share of each clip's tokens that is kept, in (0, 1]; the paper's 1 - q.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """`frames`: groups are whole clips of that many frames."""
        return ("frames",)

    def __call__(self, features: Float[Tensor, "B N D"], frames: int) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B clips."""
        groups, tokens, _ = features.shape
        count, length = kept_count(self.keep, tokens), tokens // frames
        rows = features.float().unflatten(1, (frames, length))
        change = 1 - F.cosine_similarity(rows[:, 1:], rows[:, :-1], dim=-1).flatten(1)
        most = change.argsort(dim=1, descending=True, stable=True)[:, : max(count - length, 0)]
        first = spaced(length, min(count, length)).to(most.device).expand(groups, -1)
        return VisionTokens.of(features).take(torch.cat([first, length + most.sort(1).values], 1))

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities to the frame before."""
        return 2 * tokens * width
