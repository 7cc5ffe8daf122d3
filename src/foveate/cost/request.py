"""What answering one request costs: encoding, merging, scoring, prefill and decoding.

A reduction is given by AIM's two knobs: `keep`, the share of each tile's or frame's visual tokens that
reaches the LLM, and `prune`, the layers between which they leave it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foveate.cost.hardware import Machine
from foveate.cost.llm import Convention, decode_cost, prefill_cost
from foveate.cost.operation import Cost, Operation
from foveate.cost.shapes import LLM, read_llm
from foveate.cost.vision.encoder import Encoded, Media, encode
from foveate.defaults import ANSWER_TOKENS
from foveate.errors import InputError
from foveate.keep import check_keep, kept_count
from foveate.prune.schedule import Bound, check_bounds, kept_after, linear

Prune = tuple[Bound, Bound]
Visual = (
    Media | int | Sequence[int]
)  # what is shown; or visual tokens, all together or a group each
POWER_STEPS = 5  # of AIM's importance


@dataclass(frozen=True)
class RequestCost:
    """Cost of one request, by part.

    Attributes:
        visual_tokens_in: of the prompt.
        visual_tokens_to_llm: at the LLM's input.
        visual_tokens_by_layer: that each layer computes.
        text_tokens: which every layer computes.
        parts: vision, projector, merging, scoring, prefill, decode; those that do not count are absent.
        kv_elements: numbers in the KV cache after the last step.
    """

    visual_tokens_in: int
    visual_tokens_to_llm: int
    visual_tokens_by_layer: tuple[int, ...]
    text_tokens: int
    parts: dict[str, Cost]
    kv_elements: int

    @property
    def flops(self) -> int:
        """Of all parts."""
        return sum(cost.flops for cost in self.parts.values())

    @property
    def prefill_flops(self) -> int:
        """Of the LLM's prefill, merging and scoring, as a `Report` counts them."""
        return sum(
            self.parts[name].flops
            for name in ("merging", "scoring", "prefill")
            if name in self.parts
        )

    def kv_bytes(self, itemsize: int = 2) -> int:
        """Size of the KV cache."""
        return itemsize * self.kv_elements

    def first_token_ms(self, machine: Machine) -> float:
        """Time up to the first token."""
        return sum(cost.ms(machine) for name, cost in self.parts.items() if name != "decode")


def request_cost(
    config: Any,
    media: Visual,
    text_tokens: int,
    *,
    answer_tokens: int = ANSWER_TOKENS,
    keep: float = 1.0,
    prune: Prune | None = None,
    convention: Convention = "exact",
) -> RequestCost:
    """Cost of one request.

    Args:
        config: a VLM's config; an LLM's will do where `media` is a count.
        media: what is shown; or visual tokens, one count or a count a group: encoding is then unknown.
        text_tokens: of the prompt.
        answer_tokens: the first one comes out of the prefill, each other takes a decoding step.
        keep: share of each group's visual tokens that reaches the LLM.
        prune: start and stop of pruning, as layers or shares of depth.
        convention: "exact", or "llm-viewer", which counts the LLM's prefill alone.

    Raises:
        InputError: a knob or a count out of range.
        UnsupportedError: a family whose visual tokens cannot be told from its config.
    """
    check_keep(keep)
    if answer_tokens < 1:
        raise InputError(f"an answer has at least 1 token, got {answer_tokens}")
    llm = read_llm(config)
    encoded = encode(config, media) if isinstance(media, Media) else None
    groups = encoded.groups if encoded else visual_groups(config, media)
    to_llm = sum(kept_count(keep, tokens) for tokens in groups)
    parts: dict[str, Cost] = {}
    if convention == "llm-viewer":
        by_layer = charged_layers(to_llm, prune, llm.layers)
    else:
        by_layer = layer_tokens(to_llm, prune, llm.layers)
        parts = _around(llm, encoded, groups, keep, by_layer, prune, text_tokens)
    parts["prefill"] = prefill = prefill_cost(llm, by_layer, text_tokens, convention)
    kv_elements = prefill.kv_elements
    if convention != "llm-viewer":
        rows = [tokens + text_tokens for tokens in by_layer]
        parts["decode"] = decode_cost(llm, rows, answer_tokens - 1)
        kv_elements = parts["decode"].kv_elements
    return RequestCost(sum(groups), to_llm, tuple(by_layer), text_tokens, parts, kv_elements)


def visual_groups(config: Any, media: Visual) -> tuple[int, ...]:
    """Visual tokens of each tile or frame; of a bare count one group."""
    if isinstance(media, Media):
        return encode(config, media).groups
    return (media,) if isinstance(media, int) else tuple(media)


def layer_tokens(tokens: int, prune: Prune | None, layers: int) -> list[int]:
    """Visual tokens that each layer computes: a share kept after a layer is met by the next one."""
    if prune is None:
        return [tokens] * layers
    check_bounds(prune)
    schedule, left, by_layer = linear(prune, layers), tokens, []
    for layer in range(layers):
        by_layer.append(left)
        if layer in schedule:
            left = kept_after(schedule[layer], tokens)
    return by_layer


def charged_layers(tokens: int, prune: Prune | None, layers: int) -> list[int]:
    """The same as AIM's tables charge it: a layer already earlier, in steps written with 4 digits.

    A stop beyond the last layer is allowed, as in the tables' own rows (14, 29) and (28, 29).
    """
    if prune is None:
        return [tokens] * layers
    start, stop = (bound if isinstance(bound, int) else round(bound * layers) for bound in prune)
    if not 0 <= start < stop:
        raise InputError(f"prune must start before it stops, got {prune!r}")
    step = round(1 / (stop - start), 4)
    shares = [max(0.0, 1 - max(0, layer - start + 1) * step) for layer in range(layers)]
    return [math.floor(share * tokens) for share in shares]


def _around(
    llm: LLM,
    encoded: Encoded | None,
    groups: Sequence[int],
    keep: float,
    by_layer: Sequence[int],
    prune: Prune | None,
    text_tokens: int,
) -> dict[str, Cost]:
    """Everything but the LLM's layers."""
    parts = {"vision": encoded.tower, "projector": encoded.projector} if encoded else {}
    merging = [(_merge(tokens, keep, llm.width), 1) for tokens in groups]
    if any(work.flops for work, _ in merging):
        parts["merging"] = Cost.of(merging)
    if prune is not None:
        scored = [layer for layer, share in linear(prune, llm.layers).items() if share]
        parts["scoring"] = Cost.of(
            [(_score(by_layer[layer] + text_tokens, llm), 1) for layer in scored]
        )
    return parts


def _merge(tokens: int, keep: float, width: int) -> Operation:
    """Similarities of even with odd tokens, round after round; a round at most halves."""
    flops, moved, target = 0, 0, kept_count(keep, tokens)
    while tokens > target:
        even, odd = tokens - tokens // 2, tokens // 2
        flops += 2 * even * odd * width
        moved += 3 * tokens * width + even * odd
        tokens -= min(odd, tokens - target)
    return Operation(flops, flops, moved)


def _score(rows: int, llm: LLM) -> Operation:
    """AIM's importance over the causal triangle: half of q k^T, and the steps."""
    flops = rows * rows * llm.heads * (llm.head_dim + POWER_STEPS)
    return Operation(flops, flops, rows * (llm.attention_width + llm.kv_width))
