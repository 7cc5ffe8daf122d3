"""Attention masks of layers that compute other rows than the prompt's.

Causal order is the order of rows. Two things go by more than that: blocks inside which attention runs
both ways, and windows, which are measured in positions, and these have gaps where rows were pruned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from foveate.runtime.refusals import refuse_unmasked
from foveate.runtime.seams import causal_mask

SLIDING = "sliding_attention"


@dataclass(frozen=True)
class Sight:
    """What decides, beside their order, whether rows see each other.

    Attributes:
        place: (B, K), each row's position, by which windows are measured.
        block: (B, K), number of the block inside which attention runs both ways, -1 for none; or None.
    """

    place: Int[Tensor, "B K"]
    block: Int[Tensor, "B K"] | None = None

    def of_rows(self, index: Int[Tensor, "B M"]) -> "Sight":
        """The sight of some of these rows."""
        block = None if self.block is None else self.block.gather(1, index)
        return Sight(self.place.gather(1, index), block)


def kind_of(config: Any, layer: int) -> str:
    """What a layer attends to: all before it, or a sliding window of that."""
    kinds = getattr(config, "layer_types", None)
    return kinds[layer] if kinds else "full_attention"


def layer_mask(
    config: Any,
    states: Tensor,
    valid: Bool[Tensor, "B K"] | None,
    kind: str,
    sight: Sight,
    cache_layer: Any = None,
) -> Any:
    """The attention mask of one layer, in the form its attention implementation takes.

    Args:
        config: the LLM's config.
        states: (B, q, D), what the layer is about to compute.
        valid: padding among the keys, cached ones included; None for none.
        kind: of `kind_of`.
        sight: of the keys, cached ones included.
        cache_layer: what holds the cached keys; None when there are none.

    Raises:
        UnsupportedError: there is padding, which the attention implementation would not be told.
    """
    refuse_unmasked(config, valid)
    both_ways = None if sight.block is None else _same(sight.block)
    near = _near(sight.place, config.sliding_window) if kind == SLIDING else None
    return causal_mask(config, states, valid, cache_layer, both_ways, near)


def _same(block: Int[Tensor, "B K"]) -> Callable[..., Tensor]:
    def see(batch: Any, head: Any, query: Any, key: Any) -> Tensor:
        mine = block[batch, query]
        return (mine == block[batch, key]) & (mine >= 0)

    return see


def _near(place: Int[Tensor, "B K"], window: int) -> Callable[..., Tensor]:
    def see(batch: Any, head: Any, query: Any, key: Any) -> Tensor:
        return place[batch, query] - place[batch, key] < window

    return see
