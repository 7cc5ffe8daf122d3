"""Attention masks of layers that compute only some of the prompt's rows.

Causal order is the order of rows. Two things need more: blocks inside which attention runs both ways, and
sliding windows, which are measured in positions; positions have gaps where rows were pruned.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from foveate.cost.layers import RECURRENT, SLIDING
from foveate.runtime.refusals import refuse_unmasked
from foveate.runtime.seams import causal_mask
from foveate.runtime.watch_attention import PREFIX


@dataclass(frozen=True)
class MaskInputs:
    """What a mask is made from, besides the order of the rows and padding.

    Attributes:
        positions: (B, K), of each row; windows are measured in them.
        block_ids: (B, K), of the block inside which attention runs both ways, -1 for none; or None.
        block_kinds: the kinds of layers in which it does.
    """

    positions: Int[Tensor, "B K"]
    block_ids: Int[Tensor, "B K"] | None = None
    block_kinds: frozenset[str] = frozenset()

    def of_rows(self, index: Int[Tensor, "B M"]) -> "MaskInputs":
        """The same for some of the rows."""
        block_ids = None if self.block_ids is None else self.block_ids.gather(1, index)
        return replace(self, positions=self.positions.gather(1, index), block_ids=block_ids)


def layer_mask(
    config: Any,
    states: Tensor,
    valid: Bool[Tensor, "B K"] | None,
    kind: str,
    inputs: MaskInputs | None,
    cache_layer: Any = None,
) -> Any:
    """The attention mask of one layer, in the form its attention implementation takes.

    A recurrent layer takes padding alone, as (B, q).

    Args:
        config: the LLM's config.
        states: (B, q, D), the rows that the layer is about to compute.
        valid: padding among the keys, cached ones included; None for none.
        kind: what the layer does with the sequence.
        inputs: positions and blocks of the keys, cached ones included; None where neither matters.
        cache_layer: the layer of the cache; None if there is no cache.

    Raises:
        UnsupportedError: there is padding, and the attention implementation is handed no mask.
    """
    refuse_unmasked(config, valid)
    if kind in RECURRENT:
        return None if valid is None else valid[:, -states.shape[1] :]
    both_ways, near = None, None
    if inputs is not None and inputs.block_ids is not None and kind in inputs.block_kinds:
        both_ways = _same(inputs.block_ids)
    if inputs is not None and kind == SLIDING:
        near = _near(inputs.positions, config.sliding_window)
    if valid is not None and both_ways is None and near is None and _takes_pairs(config):
        return _causal_pairs(valid, states.shape[1])
    return causal_mask(config, states, valid, cache_layer, both_ways, near)


def _takes_pairs(config: Any) -> bool:
    """Whether attention takes a mask of pairs as it is."""
    return _implementation(config) == "sdpa"


def takes_none(config: Any) -> bool:
    """Whether attention needs no mask for a token that sees all; an eager one would be made a mask."""
    return _takes_pairs(config) or _implementation(config).startswith("flash")


def _implementation(config: Any) -> str:
    return config._attn_implementation.removeprefix(PREFIX)


def _causal_pairs(valid: Bool[Tensor, "B K"], count: int) -> Bool[Tensor, "B 1 q K"]:
    """What each of the last rows sees: transformers' mask, but it is not asked whether all is valid."""
    seen = valid[:, None, None]
    if count == 1:
        return seen
    rows = torch.arange(valid.shape[1], device=valid.device)
    return seen & (rows <= rows[-count:, None])


def _same(block_ids: Int[Tensor, "B K"]) -> Callable[..., Tensor]:
    def see(batch: Any, head: Any, query: Any, key: Any) -> Tensor:
        mine = block_ids[batch, query]
        return (mine == block_ids[batch, key]) & (mine >= 0)

    return see


def _near(positions: Int[Tensor, "B K"], window: int) -> Callable[..., Tensor]:
    def see(batch: Any, head: Any, query: Any, key: Any) -> Tensor:
        return positions[batch, query] - positions[batch, key] < window

    return see
