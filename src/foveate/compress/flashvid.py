"""FlashVID: some tokens of every frame stay, the others grow together over time and space.

Source: FlashVID (arXiv 2602.08024, ICLR 2026), sections 3.2 and 3.3, appendix C.2, and published code. A
clip is cut into segments as FastVID does. In each frame the share alpha = 0.7 of what may stay is chosen
by algorithm 3: a max-min choice by cosine distance, each candidate's times its attention in the encoder
and its dot product with the segment's mean (equations 6 to 9). Each other token is linked to the most
similar one of the frame before if they are as similar as 0.8; the trees that arise become their means
(4, 5; algorithm 1), and in each frame the roots are merged into density peaks (DPC-kNN) to meet the
budget. An image is a clip of one frame.

Left out: pruning inside the LLM, for which FlashVID hands on 1.25 times the budget and drops at layer 20
of 28 what the last token attends to least. That is `FastV((20,), voters="last")` beside it.

What differs. Where links would undershoot a segment's budget, only the strongest are made, as published;
so that it is met exactly, frames share its peaks by their numbers of roots as whole numbers, at least one
each (the code rounds all up). A tree becomes the mean of all its tokens; the code divides their sum by
the number of the root's children. No noise breaks ties of density.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.compress.base import Merging
from foveate.compress.divprune import cosine_distance, far_apart
from foveate.compress.fastvid import FastVID, density_peaks
from foveate.compress.vidcom2 import shared
from foveate.keep import kept_count
from foveate.knobs import Count, Share
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("flashvid", stage="before", paper="2602.08024")
@dataclass(frozen=True)
class FlashVID(Merging):
    """Keep diverse, attended visual tokens of each frame of a clip; merge the others over time and space.

    Attributes:
        keep: share of each frame's tokens that is kept, in (0, 1]; a segment spends it as a whole.
        segments: fewest segments of a clip, if it has as many frames.
        alike: neighbouring frames less similar than this are always cut apart.
        chosen: share of the kept tokens that stay as they are (alpha); the others are merged ones.
        link: tokens of neighbouring frames as similar as this may grow together (T_tau).
    """

    segments: Count = 8
    alike: float = 0.9
    chosen: Share = 0.7
    link: float = 0.8

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention, and `frames`: groups are whole clips of that many frames."""
        return ("attention", "frames")

    def __call__(
        self, features: Float[Tensor, "B N D"], attention: Float[Tensor, "B N"], frames: int
    ) -> VisionTokens:
        """Keep `frames * ceil(keep * N / frames)` tokens of each of B clips."""
        clips = []
        cut = FastVID(segments=self.segments, alike=self.alike).cuts
        for clip, seen in zip(features, attention, strict=True):
            pictures, eyes = (rows.unflatten(0, (frames, -1)) for rows in (clip, seen))
            spans = cut(pictures.float().mean(1))
            parts = [self.segment(pictures[low:high], eyes[low:high]) for low, high in spans]
            clips.append(joined(parts))
        return VisionTokens.stacked(clips)

    def segment(
        self, part: Float[Tensor, "F M D"], attention: Float[Tensor, "F M"]
    ) -> VisionTokens:
        """What stays of one segment."""
        frames, length, _ = part.shape
        share = kept_count(self.keep, length)
        stay = math.ceil(self.chosen * share - 1e-9)
        free = torch.ones_like(attention, dtype=torch.bool)
        if stay:
            free.scatter_(1, informative(part.float(), attention.float(), stay), False)
        merged = frames * (share - stay)
        root = trees(part.float(), free, self.link, merged)
        if not merged:
            root = root.masked_fill(free.flatten(), -1)
        kept = (root == torch.arange(len(root), device=root.device)).nonzero()[:, 0]
        grown = VisionTokens.of(part.flatten(0, 1)[None]).merge(kept[None], root[None])
        is_free, frame = free.flatten()[kept], kept // length
        into = peaks_of(grown.features[0].float(), frame, is_free, merged)
        centres = (into == torch.arange(len(into), device=into.device)).nonzero()[:, 0]
        return grown.merge(centres[None], into[None])

    def kept(self, tokens: int, frames: int = 1, **known: Any) -> int:
        """Tokens that stay of a clip: on average equally many of each frame."""
        return frames * kept_count(self.keep, tokens // frames)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of normalising and of equation 8.

        Those of the similarities within a frame and to the one before, 4 a token of the frame, cannot be
        told, for how long a frame is, is not: a thousandth of prefill at 32 frames of 196 tokens.
        """
        return 4 * tokens * width


def informative(
    part: Float[Tensor, "F M D"], attention: Float[Tensor, "F M"], count: int
) -> Int[Tensor, "F K"]:
    """For each frame of a segment `count` tokens that are far apart, attended to, and of its topic."""
    worth = attention * (part @ part.mean((0, 1)))
    return far_apart(cosine_distance(part) * worth[:, None], count)


def trees(
    part: Float[Tensor, "F M D"], free: Bool[Tensor, "F M"], link: float, least: int
) -> Int[Tensor, " N"]:
    """The root of each token: itself if it stays or has no link.

    Args:
        part: tokens of a segment.
        free: which of them may be linked to one of the frame before.
        link: least similarity of a link.
        least: how many roots there must be among the free tokens.
    """
    frames, length, _ = part.shape
    root = torch.arange(frames * length, device=part.device).view(frames, length)
    unit = F.normalize(part, dim=-1)
    similar = (unit[1:] @ unit[:-1].mT).masked_fill(~free[:-1, None], -torch.inf)
    closest = similar.max(-1)
    strength = F.pad(
        closest.values.masked_fill(~free[1:], -torch.inf), (0, 0, 1, 0), value=-torch.inf
    )
    strongest = strength.flatten().argsort(descending=True, stable=True)
    strongest = strongest[: int(free.sum()) - least]
    linked = torch.zeros_like(strength, dtype=torch.bool).flatten()
    linked[strongest] = strength.flatten()[strongest] >= link
    linked = linked.view(frames, length)
    for number in range(1, frames):
        parent = root[number - 1, closest.indices[number - 1]]
        root[number] = torch.where(linked[number], parent, root[number])
    return root.flatten()


def peaks_of(
    rows: Float[Tensor, "R D"], frame: Int[Tensor, " R"], free: Bool[Tensor, " R"], count: int
) -> Int[Tensor, " R"]:
    """For each row where it goes: free rows to the nearest of `count` peaks, in each frame its own."""
    into = torch.arange(len(rows), device=rows.device)
    numbers, members = frame[free].unique(return_counts=True)
    if not len(numbers):
        return into
    wanted = members * count / members.sum()
    quotas = shared(wanted[None].float(), count, int(members.max()))[0].tolist()
    for number, quota in zip(numbers.tolist(), quotas, strict=True):
        own = (free & (frame == number)).nonzero()[:, 0]
        into[own] = own[clustered(rows[own], quota)]
    return into


def clustered(rows: Float[Tensor, "N D"], count: int) -> Int[Tensor, " N"]:
    """For each row the nearest of `count` density peaks; a peak is its own (DPC-kNN)."""
    peaks = density_peaks(rows, count, near=min(7, count))
    goes = peaks[torch.cdist(rows, rows[peaks]).argmin(-1)]
    return goes.scatter(0, peaks, peaks)


def joined(parts: list[VisionTokens]) -> VisionTokens:
    """The tokens of a clip, whose segments follow each other."""
    source, position, rows, patches = [], [], 0, 0
    for part in parts:
        source.append(part.source.where(part.source < 0, part.source + rows))
        position.append(part.position + patches)
        rows, patches = rows + part.position.shape[1], patches + part.source.shape[1]
    return VisionTokens(
        features=torch.cat([part.features for part in parts], dim=1),
        size=torch.cat([part.size for part in parts], dim=1),
        source=torch.cat(source, dim=1),
        position=torch.cat(position, dim=1),
    )
