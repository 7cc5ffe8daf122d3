"""VidCom2: frames unlike the rest of the clip keep more tokens, and in each the most unusual ones stay.

Source: VidCom2 (arXiv 2505.14454, EMNLP 2025), sections 3.3 and 3.4: a token's uniqueness is its negated
cosine similarity to the mean of the clip (equation 4), and to the mean of its frame (8). The softmax of
the frames' mean uniqueness in the clip, at temperature 0.01, moves each frame's share around the average
(5, 6); in a frame the tokens with the largest sum of both stay (9, 10). An image is a clip of one frame.

What differs: the clip's budget is met exactly. What rounding and the ends of the range (no frame keeps
fewer than one token if there are enough, none more than it has) leave over goes where most of a frame's
share is still missing. The published code compares by Gaussian kernels of several widths, over the half
of the features that vary least; here it is the paper's cosine, over all.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import KeepShare
from foveate.keep import kept_count
from foveate.knobs import Range
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("vidcom2", stage="before", paper="2505.14454")
@dataclass(frozen=True)
class VidCom2(KeepShare):
    """Keep the most unusual visual tokens of a clip, more of them in unusual frames.

    Attributes:
        keep: share of each clip's tokens that is kept, in (0, 1].
        temperature: of the softmax over frames; the lower, the more the most unusual frame gets (tau).
    """

    temperature: Annotated[float, Range(above=0)] = 0.01

    @property
    def needs(self) -> tuple[str, ...]:
        """`frames`: groups are whole clips of that many frames."""
        return ("frames",)

    def __call__(self, features: Float[Tensor, "B N D"], frames: int) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B clips."""
        groups, tokens, _ = features.shape
        count, length = kept_count(self.keep, tokens), tokens // frames
        rows = features.float().unflatten(1, (frames, length))
        to_clip = F.cosine_similarity(rows, rows.mean((1, 2), keepdim=True), dim=-1)
        to_frame = F.cosine_similarity(rows, rows.mean(2, keepdim=True), dim=-1)
        weight = (-to_clip.mean(-1) / self.temperature).softmax(-1)
        quota = shared(self.keep * length * (1 + weight - 1 / frames), count, length)
        place = (to_clip + to_frame).argsort(dim=-1, stable=True).argsort(dim=-1)
        stays = (place < quota[..., None]).flatten(1)
        return VisionTokens.of(features).take(stays.nonzero()[:, 1].view(groups, count))

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the means and of the similarities to them."""
        return 6 * tokens * width


def shared(wanted: Float[Tensor, "B F"], total: int, most: int) -> Int[Tensor, "B F"]:
    """Whole numbers near `wanted`, each up to `most`, that add up to `total`.

    One after the other goes to the frame that lacks most of what it wants, but first one to each.
    """
    lacks = wanted[..., None] - torch.arange(most, device=wanted.device)
    lacks[..., 0] += lacks.amax() - lacks.amin() + 1
    goes = lacks.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :total] // most
    return torch.zeros_like(wanted, dtype=torch.long).scatter_add(1, goes, torch.ones_like(goes))
