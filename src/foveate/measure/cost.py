"""FLOPs and KV bytes of an LLM prefill whose layers compute different numbers of tokens.

A config is read by its fields, so this needs neither torch nor transformers. A multiply-add counts
as 2 FLOPs and attention as its full N x N product, as torch's FlopCounterMode does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foveate.errors import InputError

CONVENTIONS = ("exact",)


@dataclass(frozen=True)
class Cost:
    """Cost of one prefill of one sample.

    Attributes:
        flops: all layers and the logits of the last token.
        attention_flops: the N x N products among them; a causal kernel computes about half of these.
        kv_elements: numbers held in the KV cache; times the bytes of one for its size.
    """

    flops: int
    attention_flops: int
    kv_elements: int


def prefill_cost(
    config: Any,
    visual_tokens_by_layer: Sequence[int],
    text_tokens: int,
    convention: Literal["exact"] = "exact",
) -> Cost:
    """Cost of prefilling one sample.

    Args:
        config: a VLM's or an LLM's config (its `text_config` is used where it has one).
        visual_tokens_by_layer: visual tokens that each layer computes, one entry a layer.
        text_tokens: text tokens, which every layer computes.
        convention: how FLOPs are counted; "exact" agrees with torch's counter.

    Raises:
        InputError: as many entries as layers are needed; unknown convention.
    """
    llm = getattr(config, "text_config", None) or config
    if convention not in CONVENTIONS:
        raise InputError(f"convention must be one of {CONVENTIONS}, got {convention!r}")
    if len(visual_tokens_by_layer) != llm.num_hidden_layers:
        raise InputError(
            f"visual_tokens_by_layer needs one entry a layer ({llm.num_hidden_layers}), "
            f"got {len(visual_tokens_by_layer)}"
        )
    row_elements = kv_elements_per_row(llm)
    width, inner, heads = llm.hidden_size, llm.intermediate_size, llm.num_attention_heads
    head_dim = getattr(llm, "head_dim", None) or width // heads
    projections = width * (2 * heads * head_dim + row_elements)  # q and o, k and v
    dense, attention, kv_elements = 2 * width * llm.vocab_size, 0, 0
    for visual in visual_tokens_by_layer:
        rows = visual + text_tokens
        dense += 2 * rows * (projections + 3 * width * inner)
        attention += 2 * 2 * rows * rows * heads * head_dim  # q k^T and its product with v
        kv_elements += rows * row_elements
    return Cost(dense + attention, attention, kv_elements)


def kv_elements_per_row(config: Any) -> int:
    """Numbers that one token adds to one layer's KV cache."""
    llm = getattr(config, "text_config", None) or config
    head_dim = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
    return 2 * (getattr(llm, "num_key_value_heads", None) or llm.num_attention_heads) * head_dim
