"""Reuse: patches of a clip that did not change are not encoded again.

Sources: RLT (arXiv 2411.05222, NeurIPS 2024), which drops patches of a clip that repeat, and PixelPrune
(arXiv 2604.00886), which drops those that are equal pixel by pixel. Here nothing is dropped: in every
layer an unchanged patch lends its keys and values of the frame in which it was last encoded, and behind
the encoder it has that frame's output. So each frame's changed patches see a whole frame.

This is an approximation. Which patches count as unchanged is exact by default, but what the encoder would
make of an unchanged patch also depends on the patches around it, which may have changed. Equal frames,
and frames without an equal patch, are encoded exactly as the whole encoder does.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.knobs import Checked, Range
from foveate.registry import register


@register("reuse", stage="encode", paper="2411.05222")
@dataclass(frozen=True)
class Reuse(Checked):
    """Encode only the patches of a frame that changed; equal pictures are encoded once.

    A patch is compared with the last one at its place that was encoded, not with the last frame, so that
    slow change adds up until it counts. Clips never share anything.

    Attributes:
        threshold: grey levels, of 255, by which a pixel must differ for its patch to have changed; 0
            compares exactly.
        grow: patches around a changed one that are encoded again with it: 1 for its 8 neighbours.
        refresh: every so many frames one is encoded whole; 0 for the first of a clip alone.
        std: by what the processor divides pixels in [0, 1] (`image_std`), for the threshold: 0.5 for
            SigLIP and Qwen3-VL, about 0.27 for CLIP and Qwen2-VL, about 0.225 for InternVL.
    """

    threshold: Annotated[float | int, Range(least=0, most=255)] = 0
    grow: Annotated[int, Range(least=0)] = 0
    refresh: Annotated[int, Range(least=0)] = 0
    std: Annotated[float | int, Range(above=0)] = 0.5

    @property
    def is_off(self) -> bool:
        """Never: whether anything is reused depends on the clip."""
        return False

    def sources(self, patches: Float[Tensor, "F P C"], grid: tuple[int, int]) -> Int[Tensor, "F P"]:
        """For each patch of a clip the frame in which it was last encoded.

        Args:
            patches: pixels of each patch, as the processor scaled them, frame by frame.
            grid: rows and columns of a frame, which patches fill row by row.
        """
        frames, count, _ = patches.shape
        last = patches[0]
        source = torch.zeros(frames, count, dtype=torch.long, device=patches.device)
        for frame in range(1, frames):
            changed = self._changed(patches[frame], last, grid)
            if self.refresh and frame % self.refresh == 0:
                changed = torch.ones_like(changed)
            last = torch.where(changed[:, None], patches[frame], last)
            source[frame] = torch.where(changed, frame, source[frame - 1])
        return source

    def _changed(
        self, now: Float[Tensor, "P C"], before: Float[Tensor, "P C"], grid: tuple[int, int]
    ) -> Bool[Tensor, " P"]:
        if self.threshold:
            levels = self.threshold / (255 * self.std)
            changed = ((now.float() - before.float()).abs() > levels).any(1)
        else:
            changed = (now != before).any(1)
        if self.grow:
            picture = changed.view(1, *grid).float()
            changed = F.max_pool2d(picture, 2 * self.grow + 1, 1, self.grow).bool().flatten()
        return changed
