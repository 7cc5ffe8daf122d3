"""Probes: methods that record what they are shown, or drop tokens in the simplest way."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.compress.aim import AIMMerge
from foveate.prune.schedule import Schedule
from foveate.tokens import VisionTokens

BLOCK = 512  # query rows of the attention matrix in memory at once


@dataclass(frozen=True)
class Similarity:
    """Records how similar the visual tokens of each group are, then halves them as AIM does.

    Attributes:
        neighbours: for each group, mean cosine similarity of tokens that follow one another.
        merged: for each group, mean cosine similarity of each even token and its partner.
    """

    neighbours: list[float] = field(default_factory=list)
    merged: list[float] = field(default_factory=list)
    needs: tuple[str, ...] = ()
    at: str = "llm"
    is_off: bool = False

    def __call__(self, features: Float[Tensor, "B N D"]) -> VisionTokens:
        """Record and halve B groups of N tokens."""
        if features.shape[1] > 1:
            unit = F.normalize(features.float(), dim=-1)
            self.neighbours.extend((unit[:, 1:] * unit[:, :-1]).sum(-1).mean(-1).tolist())
            best = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1).values
            self.merged.extend(best.mean(-1).tolist())
        return AIMMerge(0.5)(features)

    def flops(self, tokens: int, width: int) -> int:
        """FLOPs of the merging."""
        return AIMMerge(0.5).flops(tokens, width)


@dataclass(frozen=True)
class DropAfter:
    """Drops all visual tokens after one layer.

    Attributes:
        layer: the last layer that sees them.
    """

    layer: int
    needs: tuple[str, ...] = ()
    is_off: bool = False

    def schedule(self, layers: int) -> Schedule:
        """Nothing is kept after the layer."""
        return {self.layer: Fraction(0)}

    def score(self, query: Tensor, key: Tensor, *_: Any, **__: Any) -> Tensor:
        """Never called: there is nothing to choose."""
        raise AssertionError("a layer that keeps nothing is not scored")

    def flops(self, rows: int, heads: int, head_dim: int, **_: Any) -> int:
        """None."""
        return 0


def attention_received(
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B Hkv N d"],
    visual: Bool[Tensor, "B N"],
    scaling: float | None = None,
    block: int = BLOCK,
) -> Float[Tensor, "B N"]:
    """Share of the attention of text tokens after the pictures that falls on each token; sums to 1.

    The matrix is computed in blocks of query rows, which are discarded; heads and rows count equally. It
    is causal over all rows: for a layer with a sliding window (Gemma 3) it also counts what the window
    hides.

    Args:
        query: (B, H, N, d) after RoPE.
        key: (B, Hkv, N, d) after RoPE; H is a multiple of Hkv.
        visual: (B, N), True at visual tokens.
        scaling: factor on q k^T; default `d ** -0.5`.
        block: query rows in memory at once.
    """
    count, groups = query.shape[2], key.shape[1]
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    query = query.unflatten(1, (groups, -1)).float() * factor
    key = key.float()[:, :, None]
    behind = ~visual & (visual.long().cumsum(1) > 0)
    total = query.new_zeros(visual.shape)
    for low in range(0, count, block):
        high = min(low + block, count)
        if not behind[:, low:high].any():
            continue
        logits = query[..., low:high, :] @ key.mT[..., :high]
        rows = torch.arange(low, high, device=query.device)[:, None]
        future = torch.arange(high, device=query.device) > rows
        mass = logits.masked_fill(future, -torch.inf).softmax(-1).mean((1, 2))
        total[:, :high] += (mass * behind[:, low:high, None]).sum(1)
    return total / behind.sum(1, keepdim=True).clamp(min=1)
