"""HoliTom: what stands still in a part of a clip is merged over time, then tokens are spared in space.

Source: HoliTom (arXiv 2505.21334, NeurIPS 2025), temporal and spatial merging (before the LLM), and the
published code. A token stands still over some frames if at its place each of them is as similar to the
next as tau = 0.8 (cosine). Dynamic programming cuts the clip into the windows that spare most such tokens
in all: in a window each becomes one, the mean over its frames, in the first of them. Every window then
merges the same share of its still tokens into density peaks (DPC-kNN), and every frame keeps that share
of its moving ones, those with the most attention in the encoder. An image is a clip of one frame.

Left out: merging inside the LLM, where methods drop. `FastV((18,), voters="last")` drops what HoliTom
merges there.

What differs. The budget is met exactly: windows and frames share it by their numbers of tokens as whole
numbers, if possible at least one each; where so much stands still that merging would undershoot it, tau
rises to the lowest similarity at which it does not (the code keeps fewer tokens then). No noise breaks
ties of density.
"""

from bisect import bisect_left
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.flashvid import clustered
from foveate.compress.vidcom2 import shared
from foveate.keep import kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("holitom", stage="before", paper="2505.21334")
@dataclass(frozen=True)
class HoliTom(Merging):
    """Merge what stands still over the frames of a clip; of what moves keep the most attended.

    Attributes:
        keep: share of each clip's tokens that is kept, in (0, 1].
        still: what is more similar than this to the token at its place in the next frame stands still.
    """

    still: float = 0.8

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention, and `frames`: groups are whole clips of that many frames."""
        return ("attention", "frames")

    def __call__(
        self, features: Float[Tensor, "B N D"], attention: Float[Tensor, "B N"], frames: int
    ) -> VisionTokens:
        """Keep `ceil(keep * N)` tokens of each of B clips."""
        rows = features.float().unflatten(1, (frames, -1))
        similar = F.cosine_similarity(rows[:, :-1], rows[:, 1:], dim=-1)
        clips = zip(features, attention, similar.cpu(), strict=True)
        return VisionTokens.stacked([self.clip(*clip) for clip in clips])

    def clip(
        self,
        features: Float[Tensor, "N D"],
        attention: Float[Tensor, " N"],
        similar: Float[Tensor, "G M"],
    ) -> VisionTokens:
        """What stays of one clip.

        Args:
            features: its tokens.
            attention: that they receive in the encoder.
            similar: of each token to the one at its place in the next frame, on the CPU.
        """
        count = kept_count(self.keep, len(features))
        home, unit = (
            index.to(features.device) for index in merged_over_time(similar, self.still, count)
        )
        first = (home == torch.arange(len(home), device=home.device)).nonzero()[:, 0]
        grown = VisionTokens.of(features[None]).merge(first[None], home[None])
        rows, unit = grown.features[0].float(), unit[first]
        numbers, members = unit.unique(return_counts=True)
        wanted = members * count / len(unit)
        quotas = shared(wanted[None], count, int(members.max()))[0].tolist()
        into = torch.full_like(first, -1)
        for number, quota in zip(numbers.tolist(), quotas, strict=True):
            own = (unit == number).nonzero()[:, 0]
            if number <= len(similar):  # moving tokens of that frame
                best = attention[first[own]].argsort(descending=True, stable=True)[:quota]
                into[own[best]] = own[best]
            elif quota:
                into[own] = own[clustered(rows[own], quota)]
        stays = (into == torch.arange(len(into), device=into.device)).nonzero()[:, 0]
        return grown.merge(stays[None], into[None])

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities over time; how much is clustered depends on the clip."""
        return 2 * tokens * width


def merged_over_time(
    similar: Float[Tensor, "G M"], tau: float, least: int
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """For each token of a clip the one that it is merged into, and what shares the budget with it.

    Args:
        similar: of each token to the one at its place in the next frame, for all frames but the last.
        tau: a token more similar than this stands still.
        least: how many tokens must be left.

    Returns:
        Two numbers a token: the token that it goes to, itself if it stays; and its frame if it moves, or
        the number of frames and that of its window's first frame if it stands still.
    """
    frames, length = len(similar) + 1, similar.shape[1]

    def enough(bound: float) -> bool:
        return frames * length - windows(similar > bound)[1] >= least

    bounds = [tau, *similar[similar > tau].unique().tolist()]
    bound = bounds[bisect_left(bounds, True, key=enough)]
    home = torch.arange(frames * length).view(frames, length)
    unit = torch.arange(frames)[:, None].repeat(1, length)
    for low, high in windows(similar > bound)[0]:
        if high - low > 1:
            still = (similar[low : high - 1] > bound).all(0)
            home[low:high, still] = home[low, still]
            unit[low:high, still] = frames + low
    return home.flatten(), unit.flatten()


def windows(still: Bool[Tensor, "G M"]) -> tuple[list[tuple[int, int]], int]:
    """The cut of a clip that spares most tokens if what stands still all through a window becomes one.

    Args:
        still: whether the token at each place is as it is in the next frame, for all but the last.

    Returns:
        First frame of each window and the one after its last, and how many tokens are spared.
    """
    frames = len(still) + 1
    spared, begins = [0] * (frames + 1), [*range(-1, frames)]
    for high in range(1, frames + 1):
        spared[high] = spared[high - 1]
        through = torch.ones(still.shape[1], dtype=torch.bool)
        for low in range(high - 2, -1, -1):
            through = through & still[low]
            gain = int(through.sum()) * (high - low - 1)
            if not gain:
                break
            if spared[low] + gain > spared[high]:
                spared[high], begins[high] = spared[low] + gain, low
    found, high = [], frames
    while high:
        found.append((begins[high], high))
        high = begins[high]
    return found[::-1], spared[frames]
