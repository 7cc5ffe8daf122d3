"""One prefill under way: which rows are left, where the others went, and what it took."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.cost.llm import kv_elements_per_row, prefill_cost
from foveate.errors import UnsupportedError
from foveate.reduction import Pruner, Report
from foveate.runtime.masks import SLIDING, MaskInputs, kind_of, layer_mask
from foveate.runtime.reduced_cache import CacheState
from foveate.runtime.rows import Rows, gather_rows
from foveate.runtime.seams import Signature, by_row, cache_in, versions
from foveate.runtime.splice import Spliced
from foveate.runtime.visual_tokens import Visual


class Prefill:
    """State of one prefill with visual tokens, from the prompt to its report.

    Attributes:
        rows: the rows that the next layer computes.
        mask_inputs: of the prompt's rows: positions, and blocks inside which attention runs both ways.
        deepstack: features (B, N, D) of the prompt's rows that are added to them behind the first layers.
        scores: (B, N) importance that the current layer gave, None until it has.
        offset: (B,), by how much merging lowered the positions.
        cache: the KV cache that is being filled, if any.
        to_llm: visual tokens of each sample at the LLM's input.
        overhead: FLOPs of merging and scoring.
        seconds: encode, compress and score.
    """

    rows: Rows
    mask_inputs: MaskInputs
    deepstack: list[Float[Tensor, "B N D"]]
    scores: Float[Tensor, "B N"] | None
    offset: Int[Tensor, " B"]
    to_llm: list[int]

    def __init__(self, visual: Visual, config: Any, encode_seconds: float) -> None:
        self.visual, self.config = visual, config
        self.pruned: Tensor | None = None  # current rows among those that entered the LLM
        self.made: dict[Any, Any] = {}  # masks and position embeddings of the current rows
        self.deepstack = []
        self.cache: Any = None
        self.overhead = 0
        self.rows_by_layer: list[Rows] = []
        self.seconds = {"encode": encode_seconds, "compress": 0.0, "score": 0.0}

    def begin(self, valid: Bool[Tensor, "B N"], mask_inputs: MaskInputs, now: float) -> None:
        """The prompt is about to enter the LLM."""
        self.mask_inputs = mask_inputs
        self.prompt = self.rows = Rows.of_prompt(valid, self.visual.mask)
        self.offset = torch.zeros(len(valid), dtype=torch.long, device=valid.device)
        every = torch.arange(valid.numel(), device=valid.device).view_as(valid)
        self.target = every.where(self.visual.mask, -1)
        self.began = now

    def compressed(self, spliced: Spliced) -> Int[Tensor, "B M"]:
        """Take the merged rows out; returns the rows that are left."""
        # every removed row moves what follows it one place up
        positions = self.mask_inputs.positions - (~spliced.stays).long().cumsum(1)
        self.mask_inputs = MaskInputs(positions.clamp(min=0), self.mask_inputs.block_ids)
        index, self.rows = self.rows.select(spliced.stays)
        self.target = spliced.target
        self.overhead += spliced.flops
        return index

    def add_deepstack(self, features: list[Float[Tensor, "V D"]], spliced: Spliced | None) -> None:
        """Lay out the DeepStack features of visual tokens by row; of merged tokens the mean."""
        for part in features:
            if spliced is not None:
                self.deepstack.append(spliced.mean(part))
            else:
                whole = part.new_zeros(*self.visual.mask.shape, part.shape[-1])
                whole[self.visual.mask] = part
                self.deepstack.append(whole)

    def enter_llm(self, embeds: Float[Tensor, "B M D"], now: float) -> None:
        """Everything before the LLM is done."""
        self.itemsize = embeds.element_size()
        self.to_llm = self.rows.visual_counts
        self.entered = self.rows
        self.pruned_after = torch.full_like(self.prompt.origin, -1)
        self.seconds["compress"] = now - self.began
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
        self.rows_by_layer.append(self.rows)
        self.scores = None
        merged = self.entered is not self.prompt
        states, mask, changed = signature.names[0], signature.mask, {}
        if mask not in call or cache_in(call) is not self.cache:
            raise UnsupportedError(
                f"layer {layer} is handed no {mask}, or another KV cache than the LLM: "
                f"{signature.owner}({', '.join(call)}); {versions()}"
            )
        if self.pruned is not None or (merged and self.mask_inputs.block_ids is not None):
            changed[mask] = self._mask(kind_of(self.config, layer), call[states])
        if self.pruned is not None:
            others = {name: value for name, value in call.items() if name not in (states, mask)}
            changed |= {name: self._of_rows(name, value) for name, value in others.items()}
        return changed

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
        return self.made[kind]

    def leave_layer(self, layer: int, states: Float[Tensor, "B M D"]) -> Float[Tensor, "B M D"]:
        """Add to the rows their DeepStack features for this layer."""
        if layer >= len(self.deepstack):
            return states
        return states + gather_rows(self.deepstack[layer], self.rows.origin).to(states.dtype)

    def score(
        self,
        pruner: Pruner,
        query: Float[Tensor, "B H M d"],
        key: Float[Tensor, "B Hkv M d"],
        scaling: float | None,
    ) -> None:
        """Let a method inside the LLM say what the rows of the current layer are worth."""
        rows, masks, counts = self.rows, {}, {}
        valid = None if rows.mask is None else rows.mask.to(query.device)
        if "visual" in pruner.needs:
            masks["visual"] = rows.visual.to(query.device)
            counts["text"] = int((rows.valid & ~rows.visual).sum(1).max())
        self.scores = pruner.score(query, key, valid, scaling, **masks).to(rows.visual.device)
        batch, heads, count, width = query.shape
        self.overhead += batch * pruner.flops(count, heads, width, **counts)

    def prune(self, layer: int, kept: Bool[Tensor, "B N"]) -> Int[Tensor, "B M"] | None:
        """Drop the visual rows not in `kept`; returns the rows left, None if nothing was dropped."""
        rows = self.rows
        dropped = rows.visual & ~kept
        if not dropped.any():
            return None
        sample, row = dropped.nonzero(as_tuple=True)
        self.pruned_after[sample, rows.origin[sample, row]] = layer
        index, self.rows = rows.select(~rows.visual | kept)
        self.pruned = index if self.pruned is None else self.pruned.gather(1, index)
        self.made.clear()
        return index

    def check(self, depth: int, cache: Any) -> None:
        """See that the LLM did what the report will say.

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
            lengths = [layer.get_seq_length() for layer in self.cache.layers[:depth]]
            rows = [rows.valid.shape[1] for rows in self.rows_by_layer]
            fault = None if lengths == rows else f"the KV cache holds {lengths} rows, not {rows}"
        if fault is not None:
            raise UnsupportedError(
                f"this reduction did not work as it should: {fault}; {versions()}"
            )

    def cache_state(self) -> CacheState:
        """What the cache holds after this prefill."""
        positions: dict[int, Tensor] = {}  # layers of the same rows share them
        for rows in self.rows_by_layer:
            positions.setdefault(id(rows), self.mask_inputs.positions.gather(1, rows.origin))
        return CacheState(
            [rows.mask for rows in self.rows_by_layer],
            [positions[id(rows)] for rows in self.rows_by_layer],
            self.offset,
            self.prompt.valid,
        )

    def _held_rows(self, layer: int, rows: int) -> int:
        """How many of a layer's rows its cache keeps: of a sliding window, one fewer than it is wide."""
        sliding = kind_of(self.config, layer) == SLIDING
        if self.cache is not None:
            sliding = bool(getattr(self.cache.layers[layer], "is_sliding", False))
        return min(rows, self.config.sliding_window - 1) if sliding else rows

    def report(self, now: float) -> Report:
        """The report, once the last layer has run."""
        counts = [rows.visual_counts for rows in self.rows_by_layer]
        text = (self.prompt.valid & ~self.prompt.visual).sum(1).tolist()
        came = self.prompt.visual_counts
        depth = len(self.rows_by_layer)
        full = [prefill_cost(self.config, [n] * depth, t) for n, t in zip(came, text, strict=True)]
        by_layer = [list(sample) for sample in zip(*counts, strict=True)]
        cut = [prefill_cost(self.config, n, t) for n, t in zip(by_layer, text, strict=True)]
        samples, whole = self.prompt.valid.shape
        held = [
            self._held_rows(n, rows.valid.shape[1]) for n, rows in enumerate(self.rows_by_layer)
        ]
        unreduced = [self._held_rows(n, whole) for n in range(depth)]
        asked = self.visual.question_flops
        row_bytes = kv_elements_per_row(self.config) * self.itemsize
        return Report(
            visual_tokens_in=came,
            visual_tokens_to_llm=self.to_llm,
            visual_tokens_by_layer=by_layer,
            text_tokens=text,
            prefill_flops=sum(cost.flops for cost in cut) + self.overhead + asked,
            prefill_flops_unreduced=sum(cost.flops for cost in full) + asked,
            question_flops=asked,
            kv_bytes=row_bytes * samples * sum(held),
            kv_bytes_unreduced=row_bytes * samples * sum(unreduced),
            seconds={**self.seconds, "prefill": now - self.began, "decode": 0.0},
            fired=by_layer != [[n] * depth for n in came],
            **self._token_provenance(),
        )

    def _token_provenance(self) -> dict[str, list[list[int | None]]]:
        """Where each visual token of the prompt went, sample by sample."""
        merged_into, pruned_after = [], []
        entered = self.entered
        for sample, visual in enumerate(self.prompt.visual):
            rows = entered.origin[sample][entered.visual[sample]]
            rank = {row: place for place, row in enumerate(rows.tolist())}
            flat = self.target[sample][visual] - sample * visual.numel()
            merged_into.append([rank.get(row) for row in flat.tolist()])
            layers = self.pruned_after[sample][rows].tolist()
            pruned_after.append([None if layer < 0 else layer for layer in layers])
        return {"merged_into": merged_into, "pruned_after": pruned_after}


def clock(device: torch.device | None) -> float:
    """Seconds now, after all work queued on a device."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
