"""A forward that continues from a reduced cache: a decoding step, or the text of another turn."""

from collections.abc import Mapping
from typing import Any

import torch

from foveate.cost.layers import RECURRENT
from foveate.errors import UnsupportedError
from foveate.models.layout import Layout
from foveate.runtime.masks import MaskInputs, layer_mask
from foveate.runtime.reduced_cache import CacheState
from foveate.runtime.refusals import refuse_prepared_mask


def enter_continuation(
    state: CacheState,
    config: Any,
    layout: Layout,
    padding: Any,
    call: Mapping[str, Any],
    cache: Any,
) -> tuple[dict[str, Any], list[Any] | None]:
    """Give new tokens their positions after the reduced prompt, and masks for what each layer caches.

    Args:
        state: the cache's state, which is extended by the new tokens.
        config: the LLM's.
        layout: of its layers.
        padding: attention mask of the whole sequence, unreduced, or None.
        call: the LLM's arguments.
        cache: the reduced cache.

    Returns:
        The changed arguments, and the attention mask of each layer; None where the LLM's own serve: a
        token alone sees all that is cached.

    Raises:
        UnsupportedError: the padding is not a 2D mask of all tokens, or differs from that of the cached
            ones, or there is some among the new ones, and a layer without attention would remember it.
    """
    embeds = call["inputs_embeds"]
    count = embeds.shape[1]
    is_real = embeds.new_ones(embeds.shape[:2], dtype=torch.bool)
    if padding is not None:
        refuse_prepared_mask(padding, state.prompt_length + count)
        whole = padding.bool().to(embeds.device)
        if not torch.equal(whole[:, : state.prompt_length], state.is_real):
            raise UnsupportedError(
                "the attention mask hides or shows tokens that are in the reduced cache already; what "
                "was merged with what cannot be undone: start with an empty cache"
            )
        is_real = whole[:, state.prompt_length :]
        if layout.has_recurrent and not is_real.all():
            raise UnsupportedError(
                "padding behind what is cached cannot be told to layers without attention, which take "
                "the sequence as it comes; go on with texts of one length, or one sample at a time"
            )
    positions = call.get("position_ids")
    if positions is None:
        positions = (state.prompt_length + torch.arange(count, device=embeds.device))[None]
    positions = positions - state.offset[:, None]
    # places on a grid may be fractions of a second
    in_order = positions if positions.dim() == 2 else positions[-1].long()
    state.extend(is_real, in_order.expand(embeds.shape[:2]))
    full = layout.kinds.index("full_attention") if "full_attention" in layout.kinds else 0
    masks = _masks(state, config, layout, embeds, cache)
    plain = not set(layout.kinds) - {"full_attention", *RECURRENT} and count == 1
    own = None if plain and not any(mask is not None for mask in masks) else masks
    return {"position_ids": positions, "attention_mask": state.valid[full]}, own


def _masks(
    state: CacheState, config: Any, layout: Layout, embeds: torch.Tensor, cache: Any
) -> list[Any]:
    """The attention mask of each layer; none where it does not attend, for new tokens are no padding."""
    masks: list[Any] = []
    made: dict[tuple[Any, ...], Any] = {}  # layers of one kind, length and padding share a mask
    for index, kind in enumerate(layout.kinds):
        if layout.is_recurrent(index):
            masks.append(None)
            continue
        source = layout.sources[index]
        valid, layer = state.valid[source], cache.layers[source]
        alike = (kind, layer.get_seq_length(), id(valid))
        if alike not in made:
            inputs = MaskInputs(state.positions[source])
            made[alike] = layer_mask(config, embeds, valid, kind, inputs, layer)
        masks.append(made[alike])
    return masks
