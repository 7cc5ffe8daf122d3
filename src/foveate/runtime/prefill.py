"""One prefill under way: which rows are left, where the others went, and what it took."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import add, sub
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.cost.layers import SLIDING
from foveate.errors import UnsupportedError
from foveate.prune.attention import text_behind
from foveate.reduction import Pruner
from foveate.runtime.history import History
from foveate.runtime.masks import MaskInputs, layer_mask
from foveate.runtime.reduced_cache import CacheState, holds_rows
from foveate.runtime.rows import Rows, gather_rows, top_rows
from foveate.runtime.seams import Signature, by_row, cache_in, versions
from foveate.runtime.shown import Shown
from foveate.runtime.splice import Spliced
from foveate.runtime.target import Target
from foveate.runtime.timing import Moment, Span, Timings
from foveate.runtime.visual_tokens import Visual


class Prefill:
    """State of one prefill with visual tokens, from the prompt to its report.

    Attributes:
        rows: the rows that the next layer computes.
        mask_inputs: of the prompt's rows: positions, and blocks inside which attention runs both ways.
        deepstack: features (B, N, D) of the prompt's rows that are added to them behind the first layers.
        scores: (B, N) importance that the last layer that attends gave, None until it has.
        offset: (B,), by how much merging lowered the positions.
        cache: the KV cache that is being filled, if any.
        history: what it held before, None if nothing or what stock masks are right for.
        to_llm: visual tokens of each sample at the LLM's input.
        rows_by_layer: the rows that each layer computed.
        cut_to: of layers that the LLM handed no more than the last rows, how many.
        overhead: for each sample FLOPs of merging and scoring.
        timings: of its stages so far.
    """

    rows: Rows
    mask_inputs: MaskInputs
    deepstack: list[Float[Tensor, "B N D"]]
    offset: Int[Tensor, " B"]
    to_llm: list[int]

    def __init__(self, visual: Visual, encodings: Iterable[Span], target: Target) -> None:
        self.visual, self.config = visual, target.llm.config
        self.layout, self.sizes = target.layout, target.sizes
        self.turned_back: Tensor | None = None  # rows that a layer got in another order
        self.pruned: Tensor | None = None  # current rows among those that entered the LLM
        self.made: dict[Any, Any] = {}  # masks and position embeddings of the current rows
        self.deepstack = []
        self.cache: Any = None
        self.history: History | None = None
        self.overhead = [0] * len(visual.mask)
        self.rows_by_layer: list[Rows] = []
        self.cut_to: dict[int, int] = {}
        self.scores: Float[Tensor, "B N"] | None = None
        self.timings = Timings()
        for span in encodings:
            self.timings.add("encode", span)

    def begin(
        self,
        valid: Bool[Tensor, "B N"],
        valid_here: Bool[Tensor, "B N"] | None,
        mask_inputs: MaskInputs,
        now: Moment,
        *,
        is_off: bool,
    ) -> None:
        """The prompt is about to enter the LLM.

        Args:
            valid: (B, N), False for padding.
            valid_here: the same on the CPU, if it is known there.
            mask_inputs: of the prompt's rows.
            now: when this is.
            is_off: whether nothing of it is to be changed.
        """
        self.is_off = is_off
        self.mask_inputs = mask_inputs
        here = None if valid_here is None else (valid_here, self.visual.here)
        self.prompt = self.rows = Rows.of_prompt(valid, self.visual.mask, here)
        self.offset = torch.zeros(len(valid), dtype=torch.long, device=valid.device)
        every = torch.arange(valid.numel(), device=valid.device).view_as(valid)
        self.target = every.where(self.visual.mask, -1)
        self.began = now

    def compressed(self, spliced: Spliced) -> Int[Tensor, "B M"]:
        """Take the merged rows out; returns the rows that are left."""
        # every removed row moves what follows it one place up
        positions = self.mask_inputs.positions - (~spliced.stays).long().cumsum(1)
        self.mask_inputs = replace(self.mask_inputs, positions=positions.clamp(min=0))
        index, self.rows = self._select(spliced.stays, spliced.visual_counts)
        self.target = spliced.target
        self.overhead = list(map(add, self.overhead, spliced.flops))
        return index

    def _select(
        self, keep: Bool[Tensor, "B N"], visual_counts: list[int]
    ) -> tuple[Int[Tensor, "B M"], Rows]:
        """All text, and of each sample so many visual rows."""
        gone = map(sub, self.rows.visual_counts, visual_counts)
        return self.rows.select(keep, list(map(sub, self.rows.lengths, gone)), visual_counts)

    def add_deepstack(self, features: list[Float[Tensor, "V D"]], spliced: Spliced | None) -> None:
        """Lay out the DeepStack features of visual tokens by row; of merged tokens the mean."""
        for part in features:
            if spliced is not None:
                self.deepstack.append(spliced.mean(part))
            else:
                self.deepstack.append(self.visual.laid_out(part))

    def enter_llm(self, embeds: Float[Tensor, "B M D"], now: Moment) -> None:
        """Everything before the LLM is done."""
        self.itemsize = embeds.element_size()
        self.to_llm = self.rows.visual_counts
        self.entered = self.rows
        if self.history is not None:
            self.history.refuse_padding(self.rows)
            for layer in range(len(self.layout.kinds)):
                self.history.expect(layer, self.rows.valid.shape[1])
        self.pruned_after = torch.full_like(self.prompt.origin, -1)
        self.timings.add("compress", Span(self.began, now))
        self.began = now

    def enter_layer(
        self, layer: int, signature: Signature, call: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Another layer computes the current rows; returns what is changed among its arguments.

        Args:
            layer: its index.
            signature: of its forward.
            call: what the LLM hands to it, for the rows that entered the LLM.
        """
        states, mask, changed = signature.names[0], signature.mask, {}
        self.rows_by_layer.append(self._computed(layer, call[states].shape[1]))
        if not self.layout.is_recurrent(layer):
            self.scores = None
        if mask not in call or cache_in(call) is not self.cache:
            raise UnsupportedError(
                f"layer {layer} is handed no {mask}, or another KV cache than the LLM: "
                f"{signature.owner}({', '.join(call)}); {versions()}"
            )
        kind, others = self.layout.kinds[layer], set(call) - {states, mask}
        merged = self.entered is not self.prompt
        if self.history is not None:
            self.history.expect(layer, self.rows.valid.shape[1])
            changed[mask] = self.history.mask(
                self.config, call[states], layer, self.rows, self.mask_inputs
            )
        elif self.pruned is not None or (merged and kind in self.mask_inputs.block_kinds):
            changed[mask] = self._mask(kind, call[states])
        if self.pruned is not None:
            changed |= {name: self._of_rows(name, call[name]) for name in others}
        if self.layout.is_recurrent(layer) and not self.is_off:
            changed |= self._turned(
                {name: changed.get(name, call[name]) for name in call}, states, mask
            )
        return changed

    def _computed(self, layer: int, count: int) -> Rows:
        """The rows that a layer is handed: all that are left, or the last, where the LLM cut them."""
        whole = self.rows.valid.shape[1]
        if count > whole:
            raise UnsupportedError(
                f"layer {layer} was handed {count} rows of {whole} that are left; {versions()}"
            )
        if count == whole:
            return self.rows
        self.cut_to[layer] = count
        return self.rows.last(count)

    def _turned(self, call: dict[str, Any], states: str, mask: str) -> dict[str, Any]:
        """The same rows with padding before all others, for a layer that remembers what it saw last."""
        order = self.rows.padding_first
        self.turned_back = None if order is None else order.argsort(dim=1)
        if order is None:
            return {}
        rows = order.shape[1]
        others = {name: by_row(value, order, rows) for name, value in call.items()}
        return others | {
            states: gather_rows(call[states], order), mask: self.rows.valid.gather(1, order),
        }  # fmt: skip

    def _of_rows(self, name: str, value: Any) -> Any:
        """An argument of a layer, for the rows that are left."""
        assert self.pruned is not None
        if "position" in name and isinstance(value, Tensor) and not value.is_floating_point():
            return None  # of use to flash attention alone, which takes gaps for packing
        if id(value) not in self.made:
            # with the value itself, so that no other gets its id
            rows = self.entered.valid.shape[1]
            self.made[id(value)] = value, by_row(value, self.pruned, rows)
        return self.made[id(value)][1]

    def _mask(self, kind: str, states: Float[Tensor, "B M D"]) -> Any:
        if kind not in self.made:
            inputs = self.mask_inputs.of_rows(self.rows.origin)
            self.made[kind] = layer_mask(self.config, states, self.rows.mask, kind, inputs)
        made, count = self.made[kind], states.shape[1]
        is_cut = count < self.rows.valid.shape[1]
        return made[..., -count:, :] if is_cut and made is not None else made

    def leave_layer(self, layer: int, states: Float[Tensor, "B M D"]) -> Float[Tensor, "B M D"]:
        """Put the rows in their order again, and add to them their DeepStack features for this layer."""
        if self.turned_back is not None:
            states, self.turned_back = gather_rows(states, self.turned_back), None
        if layer >= len(self.deepstack):
            return states
        return states + gather_rows(self.deepstack[layer], self.rows.origin).to(states.dtype)

    def score(
        self,
        pruner: Pruner,
        layer: int,
        query: Float[Tensor, "B H M d"],
        key: Float[Tensor, "B Hkv K d"],
        scaling: float | None,
    ) -> None:
        """Let a method inside the LLM score the rows of the current layer; cached keys come first."""
        rows, masks, counts = self.rows, {}, {}
        held = key.shape[2] - query.shape[2]
        valid = rows.mask if self.history is None else self.history.valid(layer, rows)
        valid = None if valid is None else valid[:, -key.shape[2] :].to(query.device)
        if "visual" in pruner.needs:
            masks["visual"] = F.pad(rows.visual, (held, 0)).to(query.device)
            counts["text"] = int(text_behind(rows.visual, rows.valid).sum(1).max())
        # cached rows see none of the new ones: what stands for their queries has no say in these
        query = F.pad(query, (0, 0, held, 0))
        scores = pruner.score(query, key, valid, scaling, **masks)[:, held:]
        self.scores = scores.to(rows.visual.device)
        _, heads, count, width = query.shape
        each = pruner.flops(count, heads, width, **counts)  # of padding, too
        self.overhead = [spent + each for spent in self.overhead]

    def prune(self, layer: int, counts: list[int]) -> Int[Tensor, "B M"] | None:
        """Drop all visual rows but the best `counts[b]` of each sample.

        Returns:
            The rows left, None if nothing was dropped.

        Raises:
            UnsupportedError: there are no scores.
        """
        rows = self.rows
        counts = list(map(min, counts, rows.visual_counts))
        kept = self._best(layer, counts) if any(counts) else torch.zeros_like(rows.visual)
        if counts == rows.visual_counts:
            return None
        index, left = self._select(~rows.visual | kept, counts)
        before = self.pruned_after.gather(1, rows.origin)
        now = before.masked_fill(rows.visual & ~kept, layer)
        self.pruned_after = self.pruned_after.scatter(1, rows.origin, now)
        self.rows = left
        self.pruned = index if self.pruned is None else self.pruned.gather(1, index)
        if self.scores is not None:
            self.scores = self.scores.gather(1, index)
        self.made.clear()
        return index

    def _best(self, layer: int, counts: list[int]) -> Bool[Tensor, "B N"]:
        if self.scores is None:
            raise UnsupportedError(
                f"the attention of layer {layer} does not go through transformers' AttentionInterface, "
                f"so its rows cannot be rated; {versions()}"
            )
        return top_rows(self.scores, self.rows.visual, counts)

    def check(self, depth: int, cache: Any) -> None:
        """Check that the LLM did what the report will say.

        Args:
            depth: layers of the LLM.
            cache: KV cache that it returned, if any.

        Raises:
            UnsupportedError: layers that were not seen, or a cache that holds something else.
        """
        fault = None
        if len(self.rows_by_layer) != depth:
            fault = f"{len(self.rows_by_layer)} layers ran of {depth}"
        elif cache is not None and cache is not self.cache:
            fault = f"the LLM filled a {type(cache).__name__} that was not handed to it"
        elif self.cache is not None and self.rows is not self.prompt:
            held = {
                n: layer for n, layer in enumerate(self.cache.layers[:depth]) if holds_rows(layer)
            }
            lengths = [layer.get_seq_length() for layer in held.values()]
            before = [0] * depth if self.history is None else self.history.held
            rows = [before[n] + self.rows_by_layer[n].valid.shape[1] for n in held]
            fault = None if lengths == rows else f"the KV cache holds {lengths} rows, not {rows}"
        if fault is not None:
            raise UnsupportedError(
                f"this reduction did not work as it should: {fault}; {versions()}"
            )

    def cache_state(self) -> CacheState:
        """What the cache holds after this prefill."""
        kinds, sources = self.layout.kinds, self.layout.sources
        read = [self.rows_by_layer[source] for source in sources]
        windows = {source for kind, source in zip(kinds, sources, strict=True) if kind == SLIDING}
        positions: dict[int, Tensor] = {}  # layers of the same rows share them
        for layer in windows:
            rows = self.rows_by_layer[layer]
            positions.setdefault(id(rows), self.mask_inputs.positions.gather(1, rows.origin))
        own = CacheState(
            [rows.mask for rows in read],
            [rows.valid.shape[1] for rows in read],
            [
                positions[id(rows)] if layer in windows else None
                for layer, rows in enumerate(self.rows_by_layer)
            ],
            self.offset,
            self.prompt.valid,
            takes_padding=not self.layout.has_recurrent,
        )
        own.shown = Shown.of_prompt([rows.visual for rows in read])
        return own if self.history is None else self.history.joined(own)
