"""A forward that continues from a reduced cache: a decoding step, or the text of another turn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from foveate.cost.layers import FULL, RECURRENT
from foveate.models.layout import Layout
from foveate.runtime.mask_check import MaskCheck
from foveate.runtime.masks import MaskInputs, layer_mask, takes_none
from foveate.runtime.reduced_cache import CacheState
from foveate.runtime.refusals import refuse_prepared_mask


@dataclass(frozen=True)
class Continued:
    """What goes on from a reduced cache.

    Attributes:
        changed: what is changed among the LLM's arguments.
        masks: the attention mask of each layer; None where what the LLM has serves all of them.
        check: of the attention mask that was given, if its answer is still to come.
    """

    changed: dict[str, Any]
    masks: list[Any] | None
    check: MaskCheck | None


def enter_continuation(
    state: CacheState,
    config: Any,
    layout: Layout,
    padding: Any,
    call: Mapping[str, Any],
    cache: Any,
) -> Continued:
    """Give new tokens their positions after the reduced prompt, and masks for what each layer caches.

    Args:
        state: the cache's state, which is extended by the new tokens.
        config: the LLM's.
        layout: of its layers.
        padding: attention mask of the whole sequence, unreduced, or None.
        call: the LLM's arguments.
        cache: the reduced cache.

    Raises:
        UnsupportedError: the padding is not a 2D mask of all tokens, or differs from that of the cached
            ones, or there is some among the new ones, and a layer without attention would remember it.
            On a GPU a step of one token is told so by the next.
    """
    embeds, past = call["inputs_embeds"], state.prompt_length
    count = embeds.shape[1]
    whole = None
    if padding is not None:
        refuse_prepared_mask(padding, past + count)
        whole = padding.to(embeds.device, torch.bool, copy=True).expand(len(embeds), -1)
    positions = call.get("position_ids")
    if positions is None:
        positions = torch.arange(past, past + count, device=embeds.device)[None]
    # some cores say those of all tokens, where the mask has padding
    positions = positions[..., -count:] - state.offset[:, None]
    # places on a grid may be fractions of a second
    in_order = positions if positions.dim() == 2 else positions[-1].long()
    check = state.extend(in_order.expand(embeds.shape[:2]), whole)
    mask, masks = _masks(state, config, layout, embeds, cache)
    return Continued({"position_ids": positions, "attention_mask": mask}, masks, check)


def _masks(
    state: CacheState, config: Any, layout: Layout, embeds: torch.Tensor, cache: Any
) -> tuple[Any, list[Any] | None]:
    """The mask that the LLM is given, and those of its layers where that does not serve all of them."""
    full = layout.kinds.index(FULL) if FULL in layout.kinds else 0
    padded = state.valid[full]
    given = None if padded is None else padded.value
    if embeds.shape[1] > 1 or set(layout.kinds) - {FULL, *RECURRENT}:
        return given, _by_layer(state, config, layout, embeds, cache)
    if takes_none(config) and all(valid is None for valid in state.valid):
        return None, None  # a token alone sees all that is cached
    masks = _by_layer(state, config, layout, embeds, cache)
    if layout.has_recurrent:
        return given, masks
    alike = all(mask is masks[0] for mask in masks)
    return masks[full], None if alike else masks


def _by_layer(
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
        valid, positions, layer = state.valid[source], state.positions[source], cache.layers[source]
        alike = (kind, layer.get_seq_length(), id(valid), id(positions))
        if alike not in made:
            padded = None if valid is None else valid.value
            inputs = None if positions is None else MaskInputs(positions.value)
            made[alike] = layer_mask(config, embeds, padded, kind, inputs, layer)
        masks.append(made[alike])
    return masks
