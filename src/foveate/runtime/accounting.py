"""The report of a prefill: what its layers computed, what the cache holds, where the tokens went."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import add
from typing import Any

import torch
from torch import Tensor

from foveate.cost.layers import SLIDING
from foveate.cost.llm import prefill_cost
from foveate.cost.shapes import held_rows
from foveate.report import Report, SampleReport
from foveate.runtime.prefill import Prefill
from foveate.runtime.rows import Rows


@dataclass(frozen=True)
class Held:
    """Bytes of a cache.

    Attributes:
        own: that each sample's own rows take.
        padding: that padding takes.
    """

    own: list[int]
    padding: int


class Late(Report):
    """A report of which some numbers may still be on the device: it is asked when they are first read.

    Args:
        samples: makes the samples; called once.
        seconds: tells the seconds of each stage so far.
        fired: as of `Report`.
        padding: bytes of the KV cache that padding holds, and without the reduction.
    """

    def __init__(
        self,
        samples: Callable[[], list[SampleReport]],
        seconds: Callable[[], dict[str, float]],
        *,
        fired: bool,
        padding: tuple[int, int],
    ) -> None:
        self._samples: Any = samples
        self._seconds = seconds
        self.fired = fired
        self.kv_padding_bytes, self.kv_padding_bytes_unreduced = padding

    @property
    def samples(self) -> list[SampleReport]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As of `Report`."""
        if callable(self._samples):
            self._samples = self._samples()
        return self._samples

    @property
    def seconds(self) -> dict[str, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As of `Report`."""
        return self._seconds()

    def __reduce__(self) -> Any:
        """Copied and pickled as what it says."""
        return Report, tuple(getattr(self, part.name) for part in fields(Report))


def report_of(prefill: Prefill) -> Late:
    """The report, once the last layer has run."""
    by_layer = prefill.rows_by_layer
    # a layer that the LLM handed the last rows alone would have got as few without the reduction
    prompt, cut_to = prefill.prompt, prefill.cut_to
    unreduced = [prompt.last(cut_to[n]) if n in cut_to else prompt for n in range(len(by_layer))]
    layers = range(len(by_layer))
    before, before_whole = [Before(prefill, n) for n in layers], [Before(prefill)] * len(layers)
    cut, full = _flops(prefill, by_layer, before), _flops(prefill, unreduced, before_whole)
    held, whole = _held(prefill, by_layer, before), _held(prefill, unreduced, before_whole)
    counts = [rows.visual_counts for rows in by_layer]
    came = prompt.visual_counts
    asked = prefill.visual.question_flops or [0] * len(came)
    encoded = prefill.visual.encode_flops or [0] * len(came)
    encoded_whole = prefill.visual.encode_flops_unreduced or [0] * len(came)
    known = [
        {
            "visual_tokens_in": came[n],
            "visual_tokens_to_llm": prefill.to_llm[n],
            "visual_tokens_by_layer": [layer[n] for layer in counts],
            "text_tokens": prompt.lengths[n] - came[n],
            "prefill_flops": cut[n] + prefill.overhead[n] + asked[n],
            "prefill_flops_unreduced": full[n] + asked[n],
            "question_flops": asked[n],
            "kv_bytes": held.own[n],
            "kv_bytes_unreduced": whole.own[n],
            "encode_flops": encoded[n],
            "encode_flops_unreduced": encoded_whole[n],
        }
        for n in range(len(came))
    ]
    fired = sum(encoded) != sum(encoded_whole) or any(
        rows.visual_counts != layer for rows, layer in zip(unreduced, counts, strict=True)
    )
    provenance = _provenance(prefill)
    return Late(
        lambda: [
            SampleReport(**numbers, merged_into=into, pruned_after=after)
            for numbers, (into, after) in zip(known, provenance(), strict=True)
        ],
        prefill.timings,
        fired=fired,
        padding=(held.padding, whole.padding),
    )


class Before:
    """Rows that a layer's cache held before the prompt.

    Attributes:
        count: of each sample, padding among them.

    Args:
        prefill: which prompt.
        layer: which layer; None for one that nothing was ever taken out of.
    """

    def __init__(self, prefill: Prefill, layer: int | None = None) -> None:
        self._history, self._layer, self._samples = prefill.history, layer, len(prefill.to_llm)
        self.count = 0
        if self._history is not None:
            self.count = self._history.past if layer is None else self._history.held[layer]

    def real_among_last(self, count: int) -> list[int]:
        """How many of the last so many are not padding, of each sample."""
        if self._history is None or not count:
            return [0] * self._samples
        return self._history.real_among_last(count, self._layer)


def _flops(prefill: Prefill, rows_by_layer: Sequence[Rows], before: Sequence[Before]) -> list[int]:
    """For each sample what the LLM takes to compute these rows of it, and to say the next token."""
    visual = zip(*(rows.visual_counts for rows in rows_by_layer), strict=True)
    real = zip(*(rows.lengths for rows in rows_by_layer), strict=True)
    cached = zip(*(each.real_among_last(each.count) for each in before), strict=True)
    return [
        prefill_cost(
            prefill.sizes, seen, [n - v for n, v in zip(all_, seen, strict=True)],
            cached_by_layer=known,
        ).flops
        for seen, all_, known in zip(visual, real, cached, strict=True)
    ]  # fmt: skip


def _held(prefill: Prefill, rows_by_layer: Sequence[Rows], before: Sequence[Before]) -> Held:
    """Bytes that the caches of all layers keep: of each sample its own rows, and padding."""
    kept: dict[tuple[int, ...], list[int]] = {}  # by rows, which layers share, and how many stay
    own, padding = [0] * len(prefill.prompt.valid), 0
    for layer, (rows, past) in enumerate(zip(rows_by_layer, before, strict=True)):
        count = rows.valid.shape[1]
        window = prefill.config.sliding_window if _is_sliding(prefill, layer) else None
        held, each = held_rows(past.count + count, window), _row_bytes(prefill, layer)
        alike = id(rows), past.count, held
        if alike not in kept:
            new = min(held, count)
            kept[alike] = list(
                map(add, rows.real_among_last(new), past.real_among_last(held - new))
            )
        mine, state = kept[alike], _state_bytes(prefill, layer)
        own = [spent + each * more + state for spent, more in zip(own, mine, strict=True)]
        padding += each * (held * len(own) - sum(mine))
    return Held(own, padding)


def _is_sliding(prefill: Prefill, layer: int) -> bool:
    """Whether a layer's cache, if there is one, keeps a window alone."""
    if (cached := _cache_layer(prefill, layer)) is not None:
        return bool(getattr(cached, "is_sliding", False))
    return prefill.layout.kinds[layer] == SLIDING


def _cache_layer(prefill: Prefill, layer: int) -> Any:
    layers = () if prefill.cache is None else prefill.cache.layers
    return layers[layer] if layer < len(layers) else None


def _row_bytes(prefill: Prefill, layer: int) -> int:
    """Bytes that a row takes in a layer's cache, in the model's dtype: as keys and values are there."""
    cached = _cache_layer(prefill, layer)
    parts = [getattr(cached, name, None) for name in ("keys", "values")]
    shapes = [part.shape for part in parts if isinstance(part, Tensor) and part.dim() == 4]
    if len(shapes) == 2 and prefill.layout.reads_own(layer):
        return prefill.itemsize * sum(shape[1] * shape[3] for shape in shapes)
    return prefill.itemsize * 2 * prefill.sizes.layer(layer).kv_width


def _state_bytes(prefill: Prefill, layer: int) -> int:
    """Bytes that a layer remembers of one sample, however long it is."""
    cached, total = _cache_layer(prefill, layer), 0
    for name in ("conv_states", "recurrent_states"):
        states = (getattr(cached, name, None) or {}).values()
        total += sum(state.nbytes // len(state) for state in states if state is not None)
    return total


Gone = list[int | None]


def _provenance(prefill: Prefill) -> Callable[[], list[tuple[Gone, Gone]]]:
    """For each sample where its visual tokens went, and after which layer they were pruned.

    It is called when it is wanted: until then a small tensor on the device has all of it.
    """
    entered, width = prefill.entered, prefill.prompt.valid.shape[1]
    # by row of the prompt: whether it is visual, entered the LLM as such, its target, its last layer
    came_in = torch.zeros_like(prefill.prompt.visual).scatter(1, entered.origin, entered.visual)
    here = torch.stack([prefill.prompt.visual, came_in, prefill.target, prefill.pruned_after])

    def read() -> list[tuple[Gone, Gone]]:
        samples = enumerate(here.cpu().unbind(1))
        return [_of_sample(*fates.tolist(), first=n * width) for n, fates in samples]

    return read


def _of_sample(
    visual: list[int], came_in: list[int], target: list[int], layer: list[int], *, first: int
) -> tuple[Gone, Gone]:
    """Of one sample, whose rows begin at `first` in the batch."""
    rows = [row for row, is_in in enumerate(came_in) if is_in]
    rank = {row: place for place, row in enumerate(rows)}
    into = [rank.get(target[row] - first) for row, is_in in enumerate(visual) if is_in]
    return into, [None if layer[row] < 0 else layer[row] for row in rows]
