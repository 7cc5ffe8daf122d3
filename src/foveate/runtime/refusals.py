"""What a reduction cannot honour, refused with what works instead."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_layers import GradientCheckpointingLayer

from foveate.errors import UnsupportedError
from foveate.models.layout import Layout
from foveate.runtime.llm_arguments import is_checkpointed
from foveate.runtime.watch_attention import PREFIX

PACKED = ("cu_seq_lens", "cu_seqlens", "seq_idx")  # what tells flash attention where documents end


def refuse_compiled(model: Any) -> None:
    """Refuse a compiled model.

    Raises:
        UnsupportedError: it or a part of it is compiled.
    """
    parts = model.modules() if isinstance(model, nn.Module) else ()  # other types are refused later
    if hasattr(model, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in parts
    ):
        raise UnsupportedError(
            "a compiled model cannot be reduced: its graph is of fixed length; reduce the model itself"
        )


def refuse_unmasked(config: Any, padding: Any) -> None:
    """Refuse padding where the attention implementation is handed no mask.

    Raises:
        UnsupportedError: rows are padded, and transformers has no mask function for the implementation.
    """
    kind = config._attn_implementation
    if padding is not None and kind not in ALL_MASK_ATTENTION_FUNCTIONS:
        kind = kind.removeprefix(PREFIX)
        raise UnsupportedError(
            f"samples of unequal length are padded, but attention {kind!r} is handed no mask; register "
            f"one with transformers.AttentionMaskInterface.register({kind!r}, ...), or reduce one "
            "sample at a time"
        )


def refuse_history(cache: Any, layout: Layout, block_ids: Tensor | None) -> None:
    """Refuse visual tokens behind a filled cache where these cannot be told what it holds.

    Args:
        cache: the cache, if any.
        layout: of the LLM's layers.
        block_ids: of the prompt, inside which attention runs both ways; None for none.

    Raises:
        UnsupportedError: the cache holds some rows, and layers read each other's keys, or attention runs
            both ways among a picture's tokens.
    """
    if cache is None or not cache.get_seq_length():
        return
    if why := why_no_history(layout, both_ways=block_ids is not None):
        raise UnsupportedError(
            f"a picture behind a cached history cannot be reduced where {why}; start with an empty "
            "cache, and give the whole conversation at once"
        )


def why_no_history(layout: Layout, *, both_ways: bool) -> str:
    """Why a picture cannot be told what a cache holds before it; "" where it can.

    Args:
        layout: of the LLM's layers.
        both_ways: whether a picture's tokens see each other so.
    """
    if layout.shares_keys:
        return "layers read each other's keys"
    return "a picture's tokens see each other both ways" if both_ways else ""


def refuse_unknown_features(counts: Mapping[str, tuple[int, int]] | None = None) -> None:
    """Refuse features that were encoded elsewhere, or cut since, or joined by others.

    Args:
        counts: placeholders and visual tokens of each modality of which there are not as many.

    Raises:
        UnsupportedError: always.
    """
    told = "".join(
        f"; here are {places} placeholders of {modality}s and {made} visual tokens: where the model adds "
        "some behind its encoder, a Family must say what they belong to (docs/guides/new-family.md)"
        for modality, (places, made) in (counts or {}).items()
    )
    raise UnsupportedError(
        "pictures must be encoded, whole, inside reduce(): pass pixels, not features, and no "
        f"prefill_chunk_size, which cuts them{told}"
    )


def refuse_static(cache: Any) -> None:
    """Refuse a cache of fixed length.

    Raises:
        UnsupportedError: the cache has one.
    """
    if cache is not None and getattr(cache, "is_compileable", False):
        raise UnsupportedError(
            f"{type(cache).__name__} reserves equal lengths in every layer; works: DynamicCache"
        )


def refuse_prepared_mask(mask: Any, rows: int) -> None:
    """Refuse an attention mask that was made for layers, or for another prompt.

    Args:
        mask: of the prompt, or of what goes on from it with all that is cached; None for none.
        rows: N of (B, N), which it must have.

    Raises:
        UnsupportedError: its shape is not (B, N).
    """
    if isinstance(mask, dict) or (mask is not None and mask.dim() != 2):
        raise UnsupportedError(
            "a reduction needs a 2D attention mask (B, N) or none; got a prepared one"
        )
    if mask is not None and mask.shape[1] != rows:
        raise UnsupportedError(
            f"the attention mask has {mask.shape[1]} columns, and there are {rows} tokens"
        )


def refuse_checkpointing(llm: Any, encoder_layers: Iterable[Any]) -> None:
    """Refuse gradient checkpointing where it would run a layer anew without its hooks' doing.

    Transformers 5.24 checkpoints a layer's `forward`, inside its hooks, which is right by itself.

    Args:
        llm: whose layers may be checkpointed.
        encoder_layers: vision layers that compute fewer rows; their attention is told so as it runs.

    Raises:
        UnsupportedError: it is on, in an older transformers or in such an encoder.
    """
    if is_checkpointed(encoder_layers):
        raise UnsupportedError(
            "gradient checkpointing of vision layers that a method shortens would run their attention "
            "anew without it; put the vision tower in eval(), or leave out encode="
        )
    if "__call__" in vars(GradientCheckpointingLayer) and is_checkpointed([llm, *llm.layers]):
        raise UnsupportedError(
            f"gradient checkpointing runs hooks twice in transformers {transformers.__version__}; 5.24 "
            "keeps them outside: upgrade, or switch it off with model.gradient_checkpointing_disable()"
        )


def refuse_packed(call: Mapping[str, Any], valid: Tensor | None) -> None:
    """Refuse rows that are several documents packed one after another.

    Args:
        call: arguments of the core's forward; positions (B, N), or on a grid (3 or 4, B, N).
        valid: (B, N), False at padding, on the CPU; None for none.

    Raises:
        UnsupportedError: positions start anew within a row, or the ends of documents are given.
    """
    positions = call.get("position_ids")
    packed = any(
        value is not None for name, value in call.items() if name.lower().startswith(PACKED)
    )
    if isinstance(positions, Tensor):
        grid = positions.dim() == 3 and len(positions) == 3  # there positions may repeat
        places = (positions[0] if positions.dim() == 3 else positions).cpu()
        if valid is None or valid.shape[1] != places.shape[1]:
            valid = torch.ones_like(places, dtype=torch.bool)
        for row, real in zip(places.expand_as(valid), valid, strict=True):
            packed = packed or bool((row[real].diff() < (0 if grid else 1)).any())
    if packed:
        raise UnsupportedError(
            "a row that is several documents packed one behind the other (positions that start anew, "
            "cu_seq_lens) cannot be reduced; give each document a row of its own, padded"
        )


def refuse_masked_pictures(masks: Mapping[str, Tensor], valid: Tensor | None) -> None:
    """Refuse visual tokens that the attention mask hides: merging would show them.

    Args:
        masks: (B, N), places of visual tokens, by modality; on the CPU, as `valid` is.
        valid: (B, N), False at what is hidden; None for none.

    Raises:
        UnsupportedError: some are hidden.
    """
    if valid is None:
        return
    hidden = sum(int((mask & ~valid).sum()) for mask in masks.values())
    if hidden:
        raise UnsupportedError(
            f"{hidden} visual tokens are hidden by the attention mask, and merging would show them; take "
            "the picture out of the prompt, or prune only, as AIM(keep=1.0, prune=...) does"
        )
