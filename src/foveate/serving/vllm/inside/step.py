"""One forward of a batch: which rows are left of each request, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.prune.schedule import kept_after
from foveate.reduction import Pruner
from foveate.runtime.rows import top_rows


class Attended(NamedTuple):
    """What the attention of a layer was handed.

    Attributes:
        query: of its rows, after RoPE.
        key: of the same rows.
        scaling: factor on their products.
    """

    query: Float[Tensor, "n H d"]
    key: Float[Tensor, "n Hkv d"]
    scaling: float

    def of(self, rows: slice) -> tuple[Float[Tensor, "1 H m d"], Float[Tensor, "1 Hkv m d"]]:
        """Query and key of some rows, as a method inside the LLM takes them."""
        return self.query[rows].transpose(0, 1)[None], self.key[rows].transpose(0, 1)[None]


@dataclass
class Request:
    """One request's part of a batch.

    Attributes:
        count: its rows, as many as are left.
        held: its tokens, those of earlier steps among them.
        to_llm: visual tokens among its rows at the LLM's input.
        is_prompt: whether its rows are its whole prompt.
        dropped: how many rows of its prompt were dropped before each layer; a prompt's is filled here.
        visual: visual tokens among its rows, as many as are left.
    """

    count: int
    held: int
    to_llm: int
    is_prompt: bool
    dropped: list[int]
    visual: int = field(init=False)

    def __post_init__(self) -> None:
        self.visual = self.to_llm

    def keep(self, visual: int) -> None:
        """Only so many visual tokens are left from here on."""
        self.count -= self.visual - visual
        self.visual = visual


class Step:
    """The rows of a batch.

    Args:
        requests: in the order of their rows.
        visual: which rows are visual tokens.

    Attributes:
        rows: those that are left, among all.

    Raises:
        UnsupportedError: visual tokens that are not of a prompt read at once.
    """

    def __init__(self, requests: Sequence[Request], visual: Bool[Tensor, " n"]) -> None:
        self.requests, self.visual = requests, visual
        self.rows: Int[Tensor, " n"] = torch.arange(len(visual))
        if any(request.to_llm and not request.is_prompt for request in requests):
            raise UnsupportedError(
                "vLLM read a prompt in parts, which pruning inside the LLM cannot follow"
            )

    def enter(self, layer: int) -> list[tuple[int, int]]:
        """For each request its rows in a layer, and how many tokens the layer then holds of it."""
        for request in self.requests:
            if request.is_prompt:
                request.dropped.append(request.held - request.count)
        return [(each.count, each.held - each.dropped[layer]) for each in self.requests]

    def prune(
        self, pruner: Pruner, share: Fraction, attended: Attended
    ) -> Int[Tensor, " m"] | None:
        """Drop visual tokens behind a layer.

        Args:
            pruner: which decides.
            share: of the visual tokens at the LLM's input, to be kept.
            attended: in this layer.

        Returns:
            Which of the layer's rows are left; None for all.
        """
        stays, begin = torch.ones_like(self.visual), 0
        for request in self.requests:
            own = slice(begin, begin + request.count)
            begin = own.stop
            count = kept_after(share, request.to_llm)
            if count < request.visual:
                best = chosen(pruner, attended, own, self.visual[own], count)
                stays[own] = best | ~self.visual[own]
                request.keep(count)
        if stays.all():
            return None
        index = stays.nonzero()[:, 0]
        self.rows, self.visual = self.rows[index], self.visual[index]
        return index


def chosen(
    pruner: Pruner, attended: Attended, rows: slice, visual: Bool[Tensor, " m"], count: int
) -> Bool[Tensor, " m"]:
    """The visual tokens of one request that a method keeps.

    Args:
        pruner: the method.
        attended: in the layer.
        rows: those of the request.
        visual: which of them are visual tokens.
        count: how many to keep.
    """
    if not count:
        return torch.zeros_like(visual)
    needed = {"visual": visual[None]} if "visual" in pruner.needs else {}
    score = pruner.score(*attended.of(rows), None, attended.scaling, **needed)
    return top_rows(score, visual[None], [count])[0]
