"""FastVID: frames that show the same thing share their tokens.

Source: FastVID (arXiv 2503.11187, NeurIPS 2025), section 3, and the published code. A clip is cut into
segments where neighbouring frames differ. In every frame the tokens with the most attention in the
encoder stay as they are. Of the others only density peaks stay, and only in the anchors: every fourth
frame of a segment, counted from its last, with as many peaks in all as if every frame had some. Each
anchor's peaks are merged with the segment's tokens that attention did not choose, each token going to the
most similar peak there. An image is a clip of one frame.

The defaults (c = 8, tau = 0.9, d = 0.4, p = 4, beta = 0.6) are those of the authors' published evaluation
command for LLaVA-OneVision-7B. What differs: frames are compared by their mean token, for which tau was
not tuned, and attention is that of [CLS] or of all patches on average (there, both are of SigLIP's
pooling head); anchors are nearer to each other where their peaks would not fit, and share what an even
division of the peaks leaves over, so that `keep` is met; no noise breaks ties of density. As published,
density depends on the scale of the features: where it is large, as in foveate-mini, a token unlike its
neighbours, such as a letter's, has a density near 0 and is never a peak.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.compress.base import Merging
from foveate.keep import kept_count
from foveate.knobs import Count, Share
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("fastvid", stage="before", paper="2503.11187")
@dataclass(frozen=True)
class FastVID(Merging):
    """Merge the visual tokens of like frames of a clip into density peaks of every fourth frame.

    Attributes:
        keep: share of each frame's tokens that is kept, in (0, 1]; a segment spends it as a whole.
        segments: fewest segments of a clip (the paper's c), if it has as many frames.
        alike: neighbouring frames less similar than this are always cut apart (tau).
        peaks: share of the kept tokens that are density peaks; the others have the most attention (d).
        every: every n-th frame of a segment is an anchor (p).
        own: least weight of a peak's own features; the rest is the mean of what is merged into it, itself
            included (beta).
    """

    segments: Count = 8
    alike: float = 0.9
    peaks: Share = 0.4
    every: Count = 4
    own: Share = 0.6

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention, and `frames`: groups are whole clips of that many frames."""
        return ("attention", "frames")

    def __call__(
        self, features: Float[Tensor, "B N D"], attention: Float[Tensor, "B N"], frames: int
    ) -> VisionTokens:
        """Keep `frames * ceil(keep * N / frames)` tokens of each of B clips."""
        length, width = features.shape[1] // frames, features.shape[2]
        share = kept_count(self.keep, length)
        dense = int(self.peaks * share)
        ranked = attention.unflatten(1, (frames, length)).argsort(
            dim=-1, descending=True, stable=True
        )
        ranked += length * torch.arange(frames, device=ranked.device)[:, None]
        mixed, stay, into = features.float().clone(), [], []
        for number, clip in enumerate(features.float()):
            chosen = [ranked[number, :, : share - dense].flatten()]
            others = ranked[number, :, share - dense :].sort(dim=-1).values
            goes = torch.full_like(attention[0], -1, dtype=torch.long)
            segments = self.cuts(clip.unflatten(0, (frames, length)).mean(1)) if dense else []
            for first, last in segments:
                part = others[first:last]
                peaks, became = self.condense(clip, part, dense)
                mixed[number, peaks] = became
                goes[part] = peaks[nearest(clip[part], clip[peaks])]
                chosen.append(peaks)
            stay.append(torch.cat(chosen).sort().values)
            into.append(goes.scatter(0, stay[-1], stay[-1]))
        kept = torch.stack(stay)
        tokens = VisionTokens.of(features).merge(kept, torch.stack(into))
        mixed = mixed.gather(1, kept[..., None].expand(-1, -1, width))
        return replace(tokens, features=mixed.to(features.dtype))

    def cuts(self, frames: Float[Tensor, "F D"]) -> list[tuple[int, int]]:
        """First frame of each segment and the one after its last."""
        unit = F.normalize(frames, dim=-1)
        similar = (unit[:-1] * unit[1:]).sum(-1)
        unlike = similar < self.alike
        unlike[similar.argsort(stable=True)[: self.segments - 1]] = True
        starts = [0, *(unlike.nonzero()[:, 0] + 1).tolist()]
        return list(zip(starts, [*starts[1:], len(frames)], strict=True))

    def condense(
        self, clip: Float[Tensor, "N D"], part: Int[Tensor, "F R"], dense: int
    ) -> tuple[Int[Tensor, " P"], Float[Tensor, "P D"]]:
        """The peaks of one segment, and their merged features.

        Args:
            clip: all tokens.
            part: for each frame of the segment, the tokens that attention did not choose.
            dense: peaks for each frame of the segment, all of which lie in the anchors.
        """
        anchors = part.flip(0)[:: min(self.every, part.shape[1] // dense)]
        quota, over = divmod(dense * len(part), len(anchors))
        rows, peaks, became = clip[part.flatten()], [], []
        for number, frame in enumerate(anchors):
            peaks.append(frame[density_peaks(clip[frame], quota + (number < over))])
            itself = clip[peaks[-1]]
            takes = F.one_hot(nearest(rows, itself), len(itself)).to(rows.dtype)
            count = takes.sum(0)[:, None]
            own = (1 / (count + 1)).clamp(min=self.own)
            became.append(own * itself + (1 - own) * (takes.mT @ rows) / count.clamp(min=1))
        return torch.cat(peaks), torch.cat(became)

    def kept(self, tokens: int, frames: int = 1, **known: Any) -> int:
        """Tokens that stay of a clip: equally many of each frame."""
        return frames * kept_count(self.keep, tokens // frames)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities of a clip of `tokens` to its peaks, and of their means."""
        return 4 * tokens * int(self.peaks * kept_count(self.keep, tokens)) * width


def nearest(rows: Float[Tensor, "*N D"], peaks: Float[Tensor, "P D"]) -> Int[Tensor, "*N"]:
    """For each row the most similar peak, by cosine."""
    return (F.normalize(rows, dim=-1) @ F.normalize(peaks, dim=-1).mT).argmax(-1)


def density_peaks(rows: Float[Tensor, "N D"], count: int, near: int = 4) -> Int[Tensor, " K"]:
    """The `count` rows that have a high density and are far from all denser ones (DPC-kNN).

    Args:
        rows: what peaks are chosen from.
        count: how many peaks.
        near: density is that of this many nearest rows, itself among them.
    """
    distance = torch.cdist(rows, rows) / rows.shape[1] ** 0.5
    nearest = distance.topk(min(near, len(rows)), largest=False).values
    density = (-nearest.square().mean(-1)).exp()
    denser = density[None] > density[:, None]
    apart = distance.where(denser, distance.amax()).amin(-1)
    return (density * apart).argsort(descending=True, stable=True)[:count]
