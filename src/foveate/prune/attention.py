"""Rows of a layer's attention, made from its queries and keys in blocks: never an N x N map.

Methods that rank visual tokens by the attention of some rows share this; under SDPA or flash attention
the map itself is never made.

The attention is causal over all rows, as in the methods' papers. Where a layer's mask differs (Gemma 3:
sliding windows, image tokens that see each other both ways), it is not the layer's own attention.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.prune.products import precision_on, product

BLOCK = 2**22  # numbers in a block of rows


def attention_rows(
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B Hkv N d"],
    voters: Bool[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    scaling: float | None = None,
) -> Iterator[tuple[Int[Tensor, "B n"], Bool[Tensor, "B n"], Float[Tensor, "B n K"]]]:
    """The causal attention of some rows, a block of them at a time.

    Args:
        query: (B, H, N, d) after RoPE.
        key: (B, Hkv, N, d) after RoPE; H is a multiple of Hkv.
        voters: (B, N), the rows whose attention is wanted.
        valid: (B, N), False for padding, which receives nothing.
        scaling: factor on q k^T; default `d ** -0.5`.

    Yields:
        Blocks of up to n voters of each sample: their rows (B, n), which of these are real (samples
        with fewer are filled up), and the mean over heads of their attention to the first K tokens
        (B, n, K); no voter of the block sees a later one.
    """
    batch, heads, count, width = query.shape
    groups, factor = key.shape[1], width**-0.5 if scaling is None else scaling
    precision = precision_on(query.device, query.dtype)
    key = key.detach().flatten(0, 1).to(precision.factors)
    order = voters.long().argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(voters.sum(1).max())]
    real = voters.gather(1, order)
    step = _step(batch * heads, count)
    for low in range(0, order.shape[1], step):
        rows, is_real = order[:, low : low + step], real[:, low : low + step]
        last = int(rows.masked_fill(~is_real, 0).max()) + 1
        queries = query.detach().gather(2, rows[:, None, :, None].expand(-1, heads, -1, width))
        # heads that share a key are rows of one product
        queries = queries.to(precision.factors).reshape(batch * groups, -1, width)
        logits = queries.new_empty(*queries.shape[:2], last, dtype=precision.result)
        product(queries, key[:, :last].mT, factor, logits)
        logits = logits.view(batch, heads, -1, last)
        visible = torch.arange(last, device=rows.device) <= rows[..., None]
        visible = (visible & valid[:, None, :last])[:, None]
        logits.masked_fill_(~visible, torch.finfo(logits.dtype).min)
        attention = logits.softmax(-1).mean(1, dtype=torch.float32) * is_real[..., None]
        yield rows, is_real, attention


def causal_pairs(rows: int, heads: int) -> int:
    """How many products of a query with a key `attention_rows` makes if all rows of one sample vote.

    Half of `rows` squared, and what blocks reach beyond the diagonal.
    """
    if not rows:
        return 0
    step = min(_step(heads, rows), rows)
    blocks, rest = divmod(rows, step)
    return step**2 * blocks * (blocks + 1) // 2 + rest * rows


def _step(heads: int, count: int) -> int:
    """Rows of a block."""
    return max(BLOCK // (heads * count), 1)


def attention_received(
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B Hkv N d"],
    voters: Bool[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    scaling: float | None = None,
) -> Float[Tensor, "B N"]:
    """Mean over heads and voters of the attention that each token gets; see `attention_rows`."""
    total = torch.zeros(voters.shape, device=query.device)
    for _, _, attention in attention_rows(query, key, voters, valid, scaling):
        total[:, : attention.shape[-1]] += attention.sum(1)
    return total / voters.sum(1, keepdim=True).clamp(min=1)


def all_valid(
    query: Float[Tensor, "B H N d"], valid: Bool[Tensor, "B N"] | None
) -> Bool[Tensor, "B N"]:
    """`valid`, or all rows where nothing is padding."""
    if valid is not None:
        return valid
    return torch.ones(len(query), query.shape[2], dtype=torch.bool, device=query.device)


def last_rows(valid: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
    """The last token of each sample, whatever the side of its padding."""
    behind = valid.flip(1).long().cumsum(1).flip(1)
    return valid & (behind == 1)


def text_behind(visual: Bool[Tensor, "B N"], valid: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
    """The text that follows the last visual token of each sample; its last token if there is none."""
    behind = valid & (visual.flip(1).long().cumsum(1).flip(1) == 0)
    return torch.where(behind.any(1, keepdim=True), behind, last_rows(valid))
