"""Where the visual tokens of one picture or clip belong, how many stay, and which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import InputError
from foveate.reduction import Compressor
from foveate.runtime.splice import splice
from foveate.runtime.visual_tokens import Visual


@dataclass(frozen=True)
class Layout:
    """The visual tokens of one picture or clip, in reading order.

    Attributes:
        group: the tile or frame of each token; row separators are a group of their own.
        grids: rows and columns of each group.
        is_clip: whether groups as large as the first are the frames of a clip.
    """

    group: Int[Tensor, " n"]
    grids: Sequence[tuple[int, int]]
    is_clip: bool = False

    @classmethod
    def even(cls, grids: Sequence[tuple[int, int]], *, is_clip: bool = False) -> "Layout":
        """Groups that stand one behind the other, each with as many tokens as its grid has cells."""
        sizes = torch.tensor([rows * columns for rows, columns in grids])
        return cls(torch.arange(len(grids)).repeat_interleave(sizes), grids, is_clip)

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of each group."""
        return torch.bincount(self.group).tolist()

    @property
    def clip(self) -> Int[Tensor, " n"]:
        """The clip of each token: all frames have one number, any other group one of its own."""
        if not self.is_clip:
            return self.group
        return self.group.where(torch.tensor(self.sizes)[self.group] != self.sizes[0], 0)

    def units(self, needs: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """What a method is called with: how many tokens, and what else it is told.

        Args:
            needs: of the method.
        """
        if "sample" in needs:
            yield len(self.group), {}
            return
        for size, grid in zip(self.sizes, self.grids, strict=True):
            alone = not ("frames" in needs and self.is_clip and size == self.sizes[0])
            if alone:
                yield size, _told(needs, grid, 1)
        if "frames" in needs and self.is_clip:
            frames = self.sizes.count(self.sizes[0])
            yield frames * self.sizes[0], _told(needs, self.grids[0], frames)


def _told(needs: Sequence[str], grid: tuple[int, int], frames: int) -> dict[str, Any]:
    return {name: value for name, value in (("grid", grid), ("frames", frames)) if name in needs}


def kept(method: Any, layout: Layout) -> int:
    """How many visual tokens of a picture or clip stay."""
    return sum(method.kept(size, **told) for size, told in layout.units(method.needs))


def kept_by_group(method: Any, layout: Layout) -> list[int]:
    """How many stay of each tile or frame.

    Raises:
        InputError: a method that shares one budget among the frames of a clip.
    """
    if layout.is_clip and {"sample", "frames"} & set(method.needs):
        raise InputError(
            f"{method!r} decides for all frames of a clip at once how many of each stay; this model "
            "writes text between the frames, so vLLM must know it beforehand: take a method that gives "
            "every frame the same share"
        )
    return [method.kept(size, **told) for size, told in layout.units(method.needs)]


@dataclass(frozen=True)
class Shrunk:
    """What is left of a picture or clip.

    Attributes:
        features: one row a token that stays, in reading order.
        rows: (k,), the token of the whole at whose place each stands.
    """

    features: Float[Tensor, "k D"]
    rows: Int[Tensor, " k"]


@torch.inference_mode()
def shrink(
    features: Float[Tensor, "n D"], layout: Layout, method: Compressor, width: int | None = None
) -> Shrunk:
    """Run a method on the visual tokens of one picture or clip.

    Args:
        features: of all its tokens, at the LLM's input.
        layout: of its tokens.
        method: before the LLM.
        width: columns that the method sees; what stands behind them, as DeepStack's, is averaged along.
    """
    seen = features[None, :, :width]
    every = torch.ones(seen.shape[:2], dtype=torch.bool)
    mask = every.to(seen.device)
    spliced = splice(
        seen, Visual(mask, every, layout.group, layout.clip, grid=layout.grids), method, mask
    )
    rows = spliced.stays[0].nonzero()[:, 0]
    left = spliced.embeds[0][rows]
    if width is not None and width < features.shape[1]:
        beside = spliced.mean(features[:, width:])[0]
        left = torch.cat([left, beside[rows].to(left.dtype)], dim=1)
    return Shrunk(left, rows)
