"""AIM pruning: tokens that attention flows to stay, the rest leave step by step.

Source: AIM (arXiv 2412.03248), section 3.3: a token's importance is the mass it holds after a few
power iterations on the layer's sharpened causal attention, in the manner of PageRank.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.errors import InputError
from foveate.prune.schedule import (
    Bound,
    Schedule,
    ScheduledPruner,
    check_bounds,
    layer_of,
    linear,
)
from foveate.registry import register

# numbers in a block of the attention matrix: 16 MB in fp32 stay in a CPU's cache, other devices want more
CPU_BLOCK, BLOCK = 2**22, 2**26


@register("aim-prune", stage="inside", paper="2412.03248")
@dataclass(frozen=True)
class AIMPrune(ScheduledPruner):
    """Drop visual tokens layer by layer, those with the least attention flow first.

    Attributes:
        prune: start and stop of the schedule, as layer indices (int) or shares of depth (float).
        temperature: sharpens the attention logits before the softmax.
        steps: power iterations.
        damping: share of the mass that restarts uniformly in each step; the paper uses none.
    """

    prune: tuple[Bound, Bound] = (0.5, 0.786)
    temperature: float = 0.1
    steps: int = 5
    damping: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self.prune)
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, got {self.temperature}")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.damping < 1:
            raise InputError(f"damping must be in [0, 1), got {self.damping}")

    def schedule(self, layers: int) -> Schedule:
        """Shares kept after each pruning layer of an LLM of `layers` layers."""
        return linear(self.prune, layers)

    @classmethod
    def candidates(cls, layers: int) -> "Sequence[AIMPrune]":
        """The default's window moved over the depth; in front of the first place it gets narrower."""
        start, stop = (layer_of(bound, layers) for bound in cls.prune)
        width = max(stop - start, 1)
        narrower = [cls((0, end)) for end in range(1, width)]
        return [*narrower, *(cls((low, low + width)) for low in range(layers - width + 1))]

    def score(
        self,
        query: Float[Tensor, "B H N d"],
        key: Float[Tensor, "B Hkv N d"],
        valid: Bool[Tensor, "B N"] | None = None,
        scaling: float | None = None,
    ) -> Float[Tensor, "B N"]:
        """Importance of every row of a layer; the largest stay."""
        return token_importance(
            query, key, self.temperature, self.steps, self.damping, valid, scaling
        )

    def flops(self, rows: int, heads: int, head_dim: int) -> int:
        """FLOPs of scoring a layer of `rows` rows: half of q k^T, and the steps."""
        return rows * rows * heads * (head_dim + self.steps)


def token_importance(
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B Hkv N d"],
    temperature: float = 0.1,
    steps: int = 5,
    damping: float = 0.0,
    valid: Bool[Tensor, "B N"] | None = None,
    scaling: float | None = None,
) -> Float[Tensor, "B N"]:
    """Mass of each token after `steps` steps of `dist <- dist @ M`, root-mean-squared over heads.

    `M = softmax(q k^T * scaling / temperature)` under the causal mask. The matrix is made once, in
    blocks of rows from the last to the first: a row only feeds rows before it, so when a block is
    reached all that will ever flow into it from later rows has arrived, and all steps of its own
    rows can be taken before the block is thrown away. Memory is two blocks, never N x N, taken once: on a
    CPU new pages cost as much as what is written to them.

    Args:
        query: (B, H, N, d) after RoPE.
        key: (B, Hkv, N, d) after RoPE; H is a multiple of Hkv.
        temperature: divides the logits.
        steps: power iterations.
        damping: share of the mass that is spread uniformly again in every step.
        valid: (B, N), False for padding, which neither votes nor receives; default all.
        scaling: factor on q k^T; default `d ** -0.5`.

    Returns:
        (B, N) importance in fp32, 0 for padding.
    """
    batch, heads, count, width = query.shape
    groups = key.shape[1]
    valid = (
        torch.ones(batch, count, dtype=torch.bool, device=query.device) if valid is None else valid
    )
    factor = (width**-0.5 if scaling is None else scaling) / temperature
    # heads that share a key are rows of one product
    query = query.detach().unflatten(1, (groups, -1)).float()
    key = key.detach().float() * factor
    block = (CPU_BLOCK if query.device.type == "cpu" else BLOCK) // (batch * heads * count)
    block = min(max(block, 1), count)
    space = query.new_empty(2, batch * heads * block * count)
    start = (valid / valid.sum(1, keepdim=True).clamp(min=1)).float()[:, None, None, :]
    mass = query.new_zeros(steps + 1, batch, groups, heads // groups, count)
    mass[0] = start
    for low in reversed(range(0, count, block)):
        high = min(low + block, count)
        flow = _flow(query[..., low:high, :], key[:, :, :high], valid, low, space)
        for step in range(steps):  # settle this block's own rows first
            own = mass[step, ..., None, low:high] @ flow[..., low:high]
            mass[step + 1, ..., low:high] += own[..., 0, :]
            if damping:
                rows = mass[step + 1, ..., low:high]
                rows.mul_(1 - damping).add_(damping * start[..., low:high])
        sent = mass[:steps, ..., low:high].movedim(0, -2) @ flow[..., :low]
        mass[1:, ..., :low] += sent.movedim(-2, 0)
    return mass[-1].flatten(1, 2).square().mean(1).sqrt()


def _flow(
    query: Float[Tensor, "B G R n d"],
    key: Float[Tensor, "B G K d"],
    valid: Bool[Tensor, "B N"],
    low: int,
    space: Float[Tensor, "2 M"],
) -> Float[Tensor, "B G R n K"]:
    """Rows `low` to K of the sharpened attention matrix, in `space`: they live until the next call."""
    shape = (*query.shape[:-1], key.shape[-2])
    logits, flow = (part[: math.prod(shape)].view(shape) for part in space)
    torch.bmm(
        query.flatten(0, 1).flatten(1, 2),
        key.flatten(0, 1).mT,
        out=logits.flatten(0, 1).flatten(1, 2),
    )
    rows, count = shape[-2:]
    future = torch.ones(rows, rows, dtype=torch.bool, device=query.device).triu(1)
    logits[..., low:].masked_fill_(future, -torch.inf)
    padding = ~valid[:, None, None, None, :count]
    if not padding.any():
        return torch.softmax(logits, -1, out=flow)
    logits.masked_fill_(padding, torch.finfo(logits.dtype).min)
    return torch.softmax(logits, -1, out=flow).mul_(valid[:, None, None, low:count, None])
