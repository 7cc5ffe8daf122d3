"""One prefill under way: which rows are left, where the others went, and what it took."""

import time
from collections.abc import Mapping, Sequence
from operator import add
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.cost.llm import kv_elements_per_row, prefill_cost
from foveate.cost.shapes import held_rows
from foveate.errors import UnsupportedError
from foveate.prune.attention import text_behind
from foveate.reduction import Pruner
from foveate.report import Report, SampleReport
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
        overhead: for each sample FLOPs of merging and scoring.
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
        self.overhead = [0] * len(visual.mask)
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
        self.overhead = list(map(add, self.overhead, spliced.flops))
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
        """Let a method inside the LLM score the rows of the current layer."""
        rows, masks, counts = self.rows, {}, {}
        valid = None if rows.mask is None else rows.mask.to(query.device)
        if "visual" in pruner.needs:
            masks["visual"] = rows.visual.to(query.device)
            counts["text"] = int(text_behind(rows.visual, rows.valid).sum(1).max())
        self.scores = pruner.score(query, key, valid, scaling, **masks).to(rows.visual.device)
        _, heads, count, width = query.shape
        each = pruner.flops(count, heads, width, **counts)  # of padding, too
        self.overhead = [spent + each for spent in self.overhead]

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

    def _held_rows(self, rows_by_layer: Sequence[Rows]) -> tuple[list[int], int]:
        """Rows that the KV caches of all layers keep: of each sample its own, and padding."""
        kept: dict[
            tuple[int, int], list[int]
        ] = {}  # by rows, which layers share, and how many stay
        own, padding = [0] * len(self.prompt.valid), 0
        for layer, rows in enumerate(rows_by_layer):
            sliding = kind_of(self.config, layer) == SLIDING
            if self.cache is not None:
                sliding = bool(getattr(self.cache.layers[layer], "is_sliding", False))
            count = rows.valid.shape[1]
            held = held_rows(count, self.config.sliding_window if sliding else None)
            if (id(rows), held) not in kept:
                kept[id(rows), held] = rows.valid[:, count - held :].sum(1).tolist()
            mine = kept[id(rows), held]
            own = list(map(add, own, mine))
            padding += held * len(own) - sum(mine)
        return own, padding

    def report(self, now: float) -> Report:
        """The report, once the last layer has run."""
        by_layer = [rows.visual_counts for rows in self.rows_by_layer]
        text = (self.prompt.valid & ~self.prompt.visual).sum(1).tolist()
        came, depth = self.prompt.visual_counts, len(by_layer)
        held, padding = self._held_rows(self.rows_by_layer)
        whole, whole_padding = self._held_rows([self.prompt] * depth)
        row_bytes = kv_elements_per_row(self.config) * self.itemsize
        asked, provenance = self.visual.question_flops or [0] * len(came), self._token_provenance()
        samples = []
        for n, counts in enumerate(zip(*by_layer, strict=True)):
            cut = prefill_cost(self.config, counts, text[n])
            full = prefill_cost(self.config, [came[n]] * depth, text[n])
            samples.append(
                SampleReport(
                    visual_tokens_in=came[n],
                    visual_tokens_to_llm=self.to_llm[n],
                    visual_tokens_by_layer=list(counts),
                    text_tokens=text[n],
                    prefill_flops=cut.flops + self.overhead[n] + asked[n],
                    prefill_flops_unreduced=full.flops + asked[n],
                    question_flops=asked[n],
                    kv_bytes=row_bytes * held[n],
                    kv_bytes_unreduced=row_bytes * whole[n],
                    merged_into=provenance["merged_into"][n],
                    pruned_after=provenance["pruned_after"][n],
                )
            )
        return Report(
            samples=samples,
            seconds={**self.seconds, "prefill": now - self.began, "decode": 0.0},
            fired=any(counts != came for counts in by_layer),
            kv_padding_bytes=row_bytes * padding,
            kv_padding_bytes_unreduced=row_bytes * whole_padding,
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
