"""Where the visual tokens of one picture or clip belong, how many stay, and which."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.errors import InputError
from foveate.reduction import Compressor
from foveate.runtime.splice import splice
from foveate.runtime.visual_tokens import Visual

LOG = logging.getLogger(__name__)


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

    def units(self, needs: Sequence[str]) -> Iterator[tuple[Int[Tensor, " m"], dict[str, Any]]]:
        """What a method is called with: places of the tokens, and what else it is told.

        Args:
            needs: of the method.
        """
        if "sample" in needs:
            yield torch.arange(len(self.group)), {}
            return
        by_clip = "frames" in needs
        unit = self.clip if by_clip else self.group
        for number in unit.unique().tolist():
            own = (unit == number).nonzero()[:, 0]
            told: dict[str, Any] = {"grid": self.grids[number]} if "grid" in needs else {}
            if by_clip:
                told["frames"] = len(self.group[own].unique())
            yield own, told


def kept(method: Any, layout: Layout) -> int:
    """How many visual tokens of a picture or clip stay."""
    return sum(method.kept(len(own), **told) for own, told in layout.units(method.needs))


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
    return [method.kept(len(own), **told) for own, told in layout.units(method.needs)]


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
    features: Float[Tensor, "n D"],
    layout: Layout,
    method: Compressor,
    *,
    width: int | None = None,
    question: Float[Tensor, "T C"] | None = None,
) -> Shrunk:
    """Run a method on the visual tokens of one picture or clip.

    Args:
        features: of all its tokens, at the LLM's input.
        layout: of its tokens.
        method: before the LLM.
        width: columns that the method sees; what stands behind them, as DeepStack's, is averaged along.
        question: embeddings of the text that a method reads, if it needs a query.
    """
    seen, count = features[:, :width], len(features)
    if question is not None:
        seen = torch.cat([seen, question.to(seen)])
    here = (torch.arange(len(seen)) < count)[None]
    mask = here.to(seen.device)
    visual = Visual(mask, here, layout.group, layout.clip, grid=layout.grids)
    spliced = splice(seen[None], visual, method, torch.ones_like(mask))
    stays = as_counted(spliced.stays[0, :count].cpu(), layout, method)
    rows = stays.nonzero()[:, 0].to(seen.device)
    left = spliced.embeds[0, rows]
    if width is not None and width < features.shape[1]:
        beside = spliced.mean(features[:, width:])[0, rows]
        left = torch.cat([left, beside.to(left.dtype)], dim=1)
    return Shrunk(left, rows)


def as_counted(stays: Bool[Tensor, " n"], layout: Layout, method: Any) -> Bool[Tensor, " n"]:
    """Which tokens stay, exactly as many as were counted: vLLM ends the engine for one too few.

    A method may choose a token twice where all are alike, as in a blank picture, or no numbers at all.
    Then the first of those that it left out stay as they are.
    """
    stays = stays.clone()
    for own, told in layout.units(method.needs):
        count = method.kept(len(own), **told)
        chosen = stays[own]
        if int(chosen.sum()) != count:
            LOG.warning("%r kept %d tokens instead of %d", method, int(chosen.sum()), count)
            first = own[chosen.argsort(descending=True, stable=True)[:count]]
            stays[own] = False
            stays[first] = True
    return stays
