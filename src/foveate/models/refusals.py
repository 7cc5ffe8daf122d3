"""What a reduction cannot honour, refused with what works instead."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from foveate.errors import UnsupportedError
from foveate.models.attention import PREFIX


def refuse_compiled(model: Any) -> None:
    """Refuse a compiled model.

    Raises:
        UnsupportedError: it or a part of it is compiled.
    """
    parts = model.modules() if isinstance(model, nn.Module) else ()  # what it is, is asked later
    if hasattr(model, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in parts
    ):
        raise UnsupportedError(
            "a compiled model cannot be reduced: its graph is of fixed length; reduce the model itself"
        )


def refuse_labels(inputs: Mapping[str, Any]) -> None:
    """Refuse labels.

    Raises:
        UnsupportedError: the forward was given some.
    """
    if inputs.get("labels") is not None:
        raise UnsupportedError(
            "labels do not match reduced logits; compute the loss from logits and report.merged_into"
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


def refuse_prefix(cache: Any) -> None:
    """Refuse visual tokens behind a filled cache.

    Raises:
        UnsupportedError: the cache holds some rows.
    """
    if cache is not None and cache.get_seq_length():
        raise UnsupportedError(
            "a picture after a cached prefix cannot be reduced; start with an empty cache"
        )


def refuse(llm: Any, mask: Any, cache: Any) -> None:
    """Refuse what a reduced prefill cannot honour.

    Raises:
        UnsupportedError: a prepared mask, a static cache, gradient checkpointing, or visual tokens behind
            a filled cache.
    """
    if cache is not None and getattr(cache, "is_compileable", False):
        raise UnsupportedError(
            f"{type(cache).__name__} reserves equal lengths in every layer; works: DynamicCache"
        )
    if isinstance(mask, dict) or (mask is not None and mask.dim() != 2):
        raise UnsupportedError(
            "a reduction needs a 2D attention mask (B, N) or none; got a prepared one"
        )
    refuse_prefix(cache)
    if llm.training and getattr(llm, "gradient_checkpointing", False):
        raise UnsupportedError(
            "gradient checkpointing runs layers twice, which a reduction does not follow; switch it off "
            "with model.gradient_checkpointing_disable()"
        )
