"""FLOPs, KV cache and roofline time of an LLM whose layers compute different numbers of tokens.

Two conventions:

- "exact": a multiply-add counts as 2 FLOPs and attention as its full N x N product, and nothing else
  counts, as torch's FlopCounterMode does. Time is that of fused causal attention (half the product, no
  N x N map in memory).
- "llm-viewer": what the tables of AIM (arXiv 2412.03248) were made with. Softmax costs 5 FLOPs an
  element, a norm 7, an activation 2, a residual 1, the output layer 1 FLOP a weight, and the N x N maps
  go through memory.

On a machine of the table both times are rooflines, which no real run reaches; `foveate calibrate`
measures this machine.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from foveate.cost.llm_viewer import viewer_layer
from foveate.cost.operation import Cost, Operation
from foveate.cost.shapes import LLM, held_rows, read_llm
from foveate.errors import InputError

Convention = Literal["exact", "llm-viewer"]
CONVENTIONS = ("exact", "llm-viewer")


def prefill_cost(
    config: Any,
    visual_tokens_by_layer: Sequence[int],
    text_tokens: int,
    convention: Convention = "exact",
) -> Cost:
    """Cost of prefilling one sample.

    Args:
        config: a VLM's or an LLM's config (its `text_config` is used where it has one).
        visual_tokens_by_layer: visual tokens that each layer computes, one entry a layer.
        text_tokens: text tokens, which every layer computes.
        convention: how FLOPs are counted; "exact" agrees with torch's counter.

    Raises:
        InputError: not one entry for each layer, or an unknown convention.
    """
    llm = read_llm(config)
    if convention not in CONVENTIONS:
        raise InputError(f"convention must be one of {CONVENTIONS}, got {convention!r}")
    if len(visual_tokens_by_layer) != llm.layers:
        raise InputError(
            f"visual_tokens_by_layer needs one entry a layer ({llm.layers}), "
            f"got {len(visual_tokens_by_layer)}"
        )
    if text_tokens < 0 or min(visual_tokens_by_layer) < 0:
        raise InputError(f"tokens must be at least 0, got {min(visual_tokens_by_layer)} visual "
                         f"and {text_tokens} text")  # fmt: skip
    published = convention == "llm-viewer"
    make = viewer_layer if published else _layer
    rows_by_layer = [visual + text_tokens for visual in visual_tokens_by_layer]
    counted: dict[Operation, int] = {}
    for layer, rows in enumerate(rows_by_layer):
        for work in make(llm, layer, rows):
            counted[work] = counted.get(work, 0) + 1
    head = llm.width * llm.vocab
    logits = Operation(head if published else 2 * head, head if published else 2 * head,
                       head + llm.width + llm.vocab)  # fmt: skip
    return _total(llm, rows_by_layer, {**counted, logits: 1})


def decode_cost(config: Any, rows_by_layer: Sequence[int], steps: int) -> Cost:
    """Cost of decoding after a prefill of `rows_by_layer` rows.

    The last token of an answer is not fed back: an answer of n tokens takes n - 1 steps.
    """
    llm = read_llm(config)
    counted: dict[Operation, int] = {}
    for step in range(steps):
        for layer, rows in enumerate(rows_by_layer):
            held = held_rows(rows + step, llm.windows[layer]) + 1
            weights = llm.layer_weights(layer)
            attention = 4 * held * llm.attention_width
            for work in (
                Operation(2 * weights, 2 * weights, weights),
                Operation(attention, attention, 2 * held * llm.kv_width, attention=True),
            ):
                counted[work] = counted.get(work, 0) + 1
    head = llm.width * llm.vocab
    if steps:
        counted[Operation(2 * head, 2 * head, head + llm.vocab)] = steps
    return _total(llm, [rows + steps for rows in rows_by_layer], counted)


def kv_elements_per_row(config: Any) -> int:
    """Numbers that one token adds to the KV cache of one layer, keys and values."""
    return 2 * read_llm(config).kv_width


def _total(llm: LLM, rows_by_layer: Sequence[int], counted: dict[Operation, int]) -> Cost:
    held = sum(held_rows(rows, llm.windows[layer]) for layer, rows in enumerate(rows_by_layer))
    return Cost.of(counted.items(), 2 * llm.kv_width * held)


@lru_cache(maxsize=8192)
def _layer(llm: LLM, layer: int, rows: int) -> tuple[Operation, ...]:
    """One layer with fused causal attention."""
    weights = llm.layer_weights(layer)
    dense = 2 * rows * weights
    wide = llm.width + llm.attention_width + llm.kv_width + llm.inner
    product = 4 * rows * rows * llm.attention_width  # q k^T and its product with v
    return (
        Operation(dense, dense, llm.layer_reads(layer, rows) + 2 * rows * wide),
        Operation(product, product // 2, 2 * rows * (llm.attention_width + llm.kv_width), attention=True),
        Operation(0, 0, rows * (10 * llm.width + 3 * llm.inner)),  # norms, residuals, activation
    )  # fmt: skip
