"""FastVID: frames that show the same thing share their tokens.

Source: FastVID (arXiv 2503.11187, NeurIPS 2025), section 3. A clip is cut into segments where
neighbouring frames differ. In each segment every fourth frame is an anchor: its density peaks are kept
and take in all tokens of the segment that are most like them; the rest of the budget goes to the tokens
with the most attention in the encoder. Frames are compared by their mean token (the paper: by the
encoder's pooled one), and attention is ranked over a segment (the paper: over each frame). An image is a
clip of one frame.

The defaults (c = 8, tau = 0.9, d = 0.4, p = 4, beta = 0.6) are those of the authors' published evaluation
command for LLaVA-OneVision-7B. Not checked against the paper's text: that d is the share by attention
and not by density, and that a density is of the 4 nearest tokens.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import InputError
from foveate.keep import KeepShare, kept_count
from foveate.registry import register
from foveate.tokens import VisionTokens


@register("fastvid", stage="before", paper="2503.11187")
@dataclass(frozen=True)
class FastVID(KeepShare):
    """Merge the visual tokens of like frames of a clip into density peaks of every fourth frame.

    Attributes:
        keep: share of each frame's tokens that is kept, in (0, 1]; a segment spends it as a whole.
        segments: a clip is cut at least into so many (the paper's c), if it has the frames.
        alike: neighbouring frames less similar than this are always cut apart (tau).
        attended: share of the kept tokens that are chosen by attention (d).
        every: every so-manieth frame of a segment is an anchor (p).
        own: weight of a peak's own features in what it becomes (beta).
    """

    segments: int = 8
    alike: float = 0.9
    attended: float = 0.4
    every: int = 4
    own: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segments < 1 or self.every < 1:
            raise InputError(
                f"segments and every must be at least 1, got {self.segments} and {self.every}"
            )
        if not 0 <= self.attended <= 1 or not 0 <= self.own <= 1:
            raise InputError(
                f"attended and own must be shares in [0, 1], got {self.attended} and {self.own}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """The vision layer's attention; groups are whole clips of so many `frames`."""
        return ("attention", "frames")

    def __call__(
        self, features: Float[Tensor, "B N D"], attention: Float[Tensor, "B N"], frames: int
    ) -> VisionTokens:
        """Keep `frames * ceil(keep * N / frames)` tokens of each of B clips."""
        length = features.shape[1] // frames
        share = kept_count(self.keep, length)
        stay, into = [], []
        for clip, heeded in zip(features.float(), attention, strict=True):
            rows = F.normalize(clip, dim=-1)
            goes = torch.arange(len(rows), device=rows.device)
            kept = []
            for first, last in self.cuts(clip.unflatten(0, (frames, length)).mean(1)):
                part = slice(first * length, last * length)
                peaks, others = self.choose(
                    rows[part], heeded[part], last - first, share * (last - first)
                )
                kept += [peaks + part.start, others + part.start]
                goes[part] = -1
                if len(peaks):
                    nearest = (rows[part] @ rows[part][peaks].mT).argmax(-1)
                    goes[part] = peaks[nearest] + part.start
            stay.append(torch.cat(kept).sort().values)
            goes[stay[-1]] = stay[-1]
            into.append(goes)
        kept, goes = torch.stack(stay), torch.stack(into)
        merged = VisionTokens.of(features.float()).merge(kept, goes)
        mixed = self._weighed(features.float(), merged, kept)
        return replace(merged, features=mixed.to(features.dtype))

    def cuts(self, frames: Float[Tensor, "F D"]) -> list[tuple[int, int]]:
        """First frame of each segment and the one after its last."""
        unit = F.normalize(frames, dim=-1)
        similar = (unit[:-1] * unit[1:]).sum(-1)
        unlike = similar < self.alike
        unlike[similar.argsort(stable=True)[: self.segments - 1]] = True
        starts = [0, *(unlike.nonzero()[:, 0] + 1).tolist()]
        return list(zip(starts, [*starts[1:], len(frames)], strict=True))

    def choose(
        self, rows: Float[Tensor, "N D"], heeded: Float[Tensor, " N"], frames: int, budget: int
    ) -> tuple[Int[Tensor, " P"], Int[Tensor, " A"]]:
        """Of one segment the density peaks of its anchor frames, and the most attended of the rest."""
        length = len(rows) // frames
        anchors = range(0, frames, self.every)
        room = min(budget - round(self.attended * budget), len(anchors) * length)
        peaks = []
        for number, frame in enumerate(anchors):
            quota = room // len(anchors) + (number < room % len(anchors))
            start = frame * length
            peaks.append(density_peaks(rows[start : start + length], quota) + start)
        found = torch.cat(peaks)
        left = heeded.float().scatter(0, found, -torch.inf)
        return found, left.argsort(descending=True, stable=True)[: budget - len(found)]

    def _weighed(
        self, features: Float[Tensor, "B N D"], merged: VisionTokens, kept: Int[Tensor, "B K"]
    ) -> Float[Tensor, "B K D"]:
        """A token that took others in: its own features and their mean, weighted."""
        itself = features.gather(1, kept[..., None].expand(-1, -1, features.shape[2]))
        size = merged.size[..., None]
        others = (merged.features * size - itself) / (size - 1).clamp(min=1)
        mixed = self.own * itself + (1 - self.own) * others
        return torch.where(size > 1, mixed, itself)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the similarities of a clip of `tokens` to its peaks."""
        return 2 * tokens * kept_count(self.keep, tokens) * width


def density_peaks(rows: Float[Tensor, "N D"], count: int) -> Int[Tensor, " K"]:
    """The `count` rows that are dense themselves and far from anything denser (DPC-kNN)."""
    distance = torch.cdist(rows, rows)
    near = distance.topk(min(4, len(rows)), largest=False).values
    density = (-near.square().mean(-1)).exp()
    denser = density[None] > density[:, None]
    apart = distance.masked_fill(~denser, torch.inf).amin(-1)
    apart = torch.where(denser.any(-1), apart, distance.amax())
    return (density * apart).argsort(descending=True, stable=True)[:count]
