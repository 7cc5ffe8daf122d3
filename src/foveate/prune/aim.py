"""AIM pruning: the tokens that attention flows to stay, the others are dropped step by step.

Source: AIM (arXiv 2412.03248), section 3.3: a token's importance is the mass it holds after a few
power iterations on the layer's sharpened causal attention, in the manner of PageRank.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.defaults import PRUNE
from foveate.knobs import Range
from foveate.prune.products import precision_on, product
from foveate.prune.schedule import Schedule, ScheduledPruner, Window, layer_of, linear
from foveate.registry import register

# numbers in a block of the attention matrix: 12 MB in fp32 stay in a CPU's cache, other devices want more
CPU_BLOCK, BLOCK = 3 * 2**20, 2**26
MANY = 10_000  # blocks
# a block's rows end at a multiple of this, so that its columns fill whole vectors: a third faster
ALIGNED = 16
MOST_STEPS = 100  # time and memory grow with each, and whoever asks a server may ask for many


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

    prune: Window = PRUNE
    temperature: Annotated[float, Range(above=0)] = 0.1
    steps: Annotated[int, Range(least=1, most=MOST_STEPS)] = 5
    damping: Annotated[float, Range(least=0, below=1)] = 0.0

    def schedule(self, layers: int) -> Schedule:
        """Shares kept after each pruning layer of an LLM of `layers` layers."""
        return linear(self.prune, layers)

    @classmethod
    def candidates(cls, layers: int) -> "Sequence[AIMPrune]":
        """The default's window moved over the depth; the cheapest start at layer 0 and are narrower."""
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
        """FLOPs of scoring a layer of `rows` rows: the causal part of q k^T, and the steps through it."""
        return 2 * _pairs(rows, heads) * heads * (head_dim + self.steps)


def token_importance(
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B Hkv N d"],
    temperature: float = 0.1,
    steps: int = 5,
    damping: float = 0.0,
    valid: Bool[Tensor, "B N"] | None = None,
    scaling: float | None = None,
) -> Float[Tensor, "B N"]:
    """AIM's importance: mass of each token after some steps of `dist <- dist @ M`, RMS over heads.

    `M = softmax(q k^T * scaling / temperature)` under the causal mask (arXiv 2412.03248, section 3.3).
    The matrix is computed once, in blocks of rows from the last to the first. A row passes mass only to
    rows before it, so when a block is reached, all mass from later rows has arrived: all steps of its
    rows are taken, then the block is discarded. Memory is one block, never N x N, allocated once, because
    on a CPU new pages cost as much as writing to them. Blocks get more rows as rows get shorter.

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
    groups, all_heads = key.shape[1], batch * heads
    factor = (width**-0.5 if scaling is None else scaling) / temperature
    precision = precision_on(query.device, query.dtype)
    # heads that share a key are rows of one product
    query = query.detach().unflatten(1, (groups, -1)).flatten(0, 1).to(precision.factors)
    key = key.detach().flatten(0, 1).to(precision.factors).contiguous().mT
    padding = None if valid is None else ~valid.repeat_interleave(heads, 0)
    if valid is None:
        valid = torch.ones(batch, count, dtype=torch.bool, device=query.device)
    start = valid / valid.sum(1, keepdim=True).clamp(min=1)
    mass = query.new_zeros(all_heads, steps + 1, count, dtype=torch.float32)
    mass[:, 0] = start.repeat_interleave(heads, 0)
    size = CPU_BLOCK if query.device.type == "cpu" else BLOCK
    whole = all_heads * count * count
    space = query.new_empty(min(max(size, all_heads * count), whole), dtype=precision.result)
    room = space.new_empty(all_heads * steps * count)
    largest = min(max(math.isqrt(size // all_heads), 1), count)  # rows of the block at the top left
    future = space.new_full((largest, largest), -torch.inf).triu(1)
    for low, high in _blocks(count, all_heads, size):
        flow = _flow(query[:, :, low:high], key[..., :high], factor, future, padding, space)
        settled = _settle(mass[..., low:high], flow[..., low:].to(mass.dtype), damping)
        mass[:, -1, low:high] = settled[-1]
        sending = settled[:-1].transpose(0, 1).to(flow.dtype)
        # to all columns, those of the block among them: part of `flow` would be copied first
        sent = room[: all_heads * steps * high].view(all_heads, steps, high)
        mass[:, 1:, :low] += torch.bmm(sending, flow, out=sent)[..., :low]
    return mass[:, -1].unflatten(0, (batch, heads)).square().mean(1).sqrt()


def _settle(
    arrived: Float[Tensor, "H S n"], own: Float[Tensor, "H n n"], damping: float
) -> Float[Tensor, "S H n"]:
    """The mass of a block's rows before each step and after the last."""
    settled = arrived.transpose(0, 1).contiguous()
    for before, after in pairwise(settled[:, :, None]):
        torch.baddbmm(after, before, own, out=after)
        if damping:
            after.mul_(1 - damping).add_(settled[0, :, None], alpha=damping)
    return settled


@cache
def _pairs(rows: int, heads: int) -> int:
    """How many products of a query with a key the blocks of one sample make, for each head."""
    if heads * rows**2 > MANY * CPU_BLOCK:  # blocks of few rows: hardly more than the triangle
        return rows * (rows + 1) // 2
    return sum(high * (high - low) for low, high in _blocks(rows, heads, CPU_BLOCK))


def _blocks(count: int, heads: int, size: int) -> Iterator[tuple[int, int]]:
    """First row and end of each block, from the last to the first, of about `size` numbers each."""
    high = count
    while high:
        low = max(high - max(size // (heads * high), 1), 0)
        aligned = math.ceil(low / ALIGNED) * ALIGNED
        low = aligned if aligned < high else low
        yield low, high
        high = low


def _flow(
    query: Float[Tensor, "G R n d"],
    key: Float[Tensor, "G d K"],
    factor: float,
    future: Float[Tensor, "L L"],
    padding: Bool[Tensor, "H N"] | None,
    space: Float[Tensor, " M"],
) -> Float[Tensor, "H n K"]:
    """The last n of K rows of the sharpened attention matrix, in `space` until the next call."""
    (groups, shared, rows, _), count = query.shape, key.shape[2]
    flow = space[: groups * shared * rows * count].view(groups, shared * rows, count)
    product(query.flatten(1, 2), key, factor, flow)
    flow = flow.view(groups * shared, rows, count)
    low = count - rows
    flow[..., low:] += future[:rows, :rows]
    if padding is None:
        return torch.softmax(flow, -1, out=flow)
    flow.masked_fill_(padding[:, None, :count], torch.finfo(flow.dtype).min)
    return torch.softmax(flow, -1, out=flow).masked_fill_(padding[:, low:count, None], 0)
