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
from operator import add
from typing import Any, Literal

from foveate.cost.llm_viewer import viewer_layer
from foveate.cost.operation import Cost, Operation
from foveate.cost.shapes import LLM, held_rows, read_llm
from foveate.errors import InputError, UnsupportedError

Convention = Literal["exact", "llm-viewer"]
CONVENTIONS = ("exact", "llm-viewer")


def prefill_cost(
    config: Any,
    visual_tokens_by_layer: Sequence[int],
    text_tokens: int | Sequence[int],
    convention: Convention = "exact",
    cached_by_layer: Sequence[int] = (),
) -> Cost:
    """Cost of prefilling one sample.

    Args:
        config: a VLM's or an LLM's config (its `text_config` is used where it has one).
        visual_tokens_by_layer: visual tokens that each layer computes, one entry a layer.
        text_tokens: text tokens that every layer computes, or one entry a layer where they are unlike.
        convention: how FLOPs are counted; "exact" agrees with torch's counter.
        cached_by_layer: rows of earlier turns that each layer's attention reads, too; none by default.

    Raises:
        InputError: not one entry for each layer, or an unknown convention.
    """
    llm = read_llm(config)
    if convention not in CONVENTIONS:
        raise InputError(f"convention must be one of {CONVENTIONS}, got {convention!r}")
    cached = cached_by_layer or [0] * llm.layers
    for name, given in (("visual_tokens", visual_tokens_by_layer), ("cached", cached)):
        if len(given) != llm.layers:
            raise InputError(
                f"{name}_by_layer needs one entry a layer ({llm.layers}), got {len(given)}"
            )
    text = [text_tokens] * llm.layers if isinstance(text_tokens, int) else text_tokens
    if min(text) < 0 or min(visual_tokens_by_layer) < 0:
        raise InputError(f"tokens must be at least 0, got {min(visual_tokens_by_layer)} visual "
                         f"and {min(text)} text")  # fmt: skip
    if convention == "llm-viewer" and llm.each:
        raise UnsupportedError(
            "LLM-Viewer's tables know no LLM whose layers are unlike each other; use convention='exact'"
        )
    published = convention == "llm-viewer"
    rows_by_layer = list(map(add, visual_tokens_by_layer, text))
    counted: dict[Operation, int] = {}
    for layer, rows in enumerate(rows_by_layer):
        source, seen = llm.layer(layer).source, visual_tokens_by_layer[layer]
        keys = rows_by_layer[source] + cached[source]
        exact = () if published else _layer(llm, layer, rows, keys, seen)
        for work in viewer_layer(llm, layer, rows) if published else exact:
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
        for layer in range(llm.layers):
            for work in _step(llm, layer, rows_by_layer[llm.layer(layer).source] + step):
                counted[work] = counted.get(work, 0) + 1
    head = llm.width * llm.vocab
    if steps:
        counted[Operation(2 * head, 2 * head, head + llm.vocab)] = steps
    return _total(llm, [rows + steps for rows in rows_by_layer], counted)


def kv_elements_per_row(config: Any) -> int:
    """Numbers that one token adds to one layer's KV cache, where all layers are alike.

    Raises:
        UnsupportedError: they are not.
    """
    llm = read_llm(config)
    if llm.each:
        raise UnsupportedError("layers are unlike each other: ask prefill_cost(...).kv_elements")
    return 2 * llm.kv_width


def kv_elements_by_layer(llm: LLM, rows_by_layer: Sequence[int]) -> list[int]:
    """Numbers that each layer's KV cache holds of so many rows, without what it remembers in float32."""
    layers = map(llm.layer, range(llm.layers))
    return [
        2 * layer.kv_width * held_rows(rows, window) + layer.state
        for layer, rows, window in zip(layers, rows_by_layer, llm.windows, strict=True)
    ]


def _step(llm: LLM, number: int, rows: int) -> tuple[Operation, ...]:
    """One layer's part of one decoding step, after so many rows."""
    layer = llm.layer(number)
    held = held_rows(rows, llm.windows[number]) + 1
    attention = 4 * held * layer.attention_width
    keys = llm.layer(layer.source).kv_width
    remembered = 2 * (layer.state + (layer.delta.state if layer.delta else 0))  # read and written
    dense = 2 * (layer.weights + (held - 1) * layer.unpacked)
    work = (
        Operation(dense, dense, layer.weights),
        Operation(attention, attention, 2 * held * keys, attention=True),
    )
    return (*work, Operation(0, 0, remembered)) if remembered else work


def _total(llm: LLM, rows_by_layer: Sequence[int], counted: dict[Operation, int]) -> Cost:
    layers = [llm.layer(number) for number in range(llm.layers)]
    state = sum(layer.delta.state for layer in layers if layer.delta)
    return Cost.of(counted.items(), sum(kv_elements_by_layer(llm, rows_by_layer)), state)


@lru_cache(maxsize=8192)
def _layer(llm: LLM, number: int, rows: int, keys: int, seen: int) -> tuple[Operation, ...]:
    """One layer of so many rows, some of them seen, with fused causal attention to so many keys."""
    layer = llm.layer(number)
    dense = layer.dense(rows, seen)
    wide = llm.width + layer.attention_width + layer.kv_width + llm.inner
    product = 4 * rows * keys * layer.attention_width  # q k^T and its product with v
    moved = rows * layer.attention_width + keys * llm.layer(layer.source).kv_width
    work = (
        Operation(dense, dense, llm.layer_reads(number, rows) + 2 * rows * wide),
        Operation(product, product // 2, 2 * moved, attention=True),
        Operation(0, 0, rows * (10 * llm.width + 3 * llm.inner)),  # norms, residuals, activation
    )
    if layer.delta is None:
        return work
    mixed = layer.delta.flops(rows)
    through = 2 * layer.delta.heads * (layer.delta.key + layer.delta.value)
    return (*work, Operation(mixed, mixed, rows * through + 2 * layer.delta.state))
