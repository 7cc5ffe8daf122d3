"""One prefill under way: which rows are left, where the others went, and what it took."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.measure.cost import kv_elements_per_row, prefill_cost
from foveate.models.family import Visual
from foveate.models.held import Held
from foveate.models.rows import Rows
from foveate.models.splice import Spliced
from foveate.reduction import Report


class Prefill:
    """State of one prefill with visual tokens, from the prompt to its report.

    Attributes:
        rows: the rows that the next layer computes.
        layer_inputs: what replaces the layers' own masks and positions once rows were pruned.
        scores: (B, N) importance that the current layer gave.
        offset: (B,), by how much merging lowered the positions.
        cache: the KV cache that is being filled, if any.
        to_llm: visual tokens of each sample at the LLM's input.
        overhead: FLOPs of merging and scoring.
        seconds: encode, compress and score.
    """

    rows: Rows
    scores: Float[Tensor, "B N"]
    offset: Int[Tensor, " B"]
    to_llm: list[int]

    def __init__(self, visual: Visual, config: Any, encode_seconds: float) -> None:
        self.visual, self.config = visual, config
        self.layer_inputs: dict[str, Any] = {}
        self.cache: Any = None
        self.overhead = 0
        self.rows_by_layer: list[Rows] = []
        self.seconds = {"encode": encode_seconds, "compress": 0.0, "score": 0.0}

    def begin(self, valid: Bool[Tensor, "B N"], now: float) -> None:
        """The prompt is about to enter the LLM."""
        self.prompt = self.rows = Rows.of_prompt(valid, self.visual.mask)
        self.offset = torch.zeros(len(valid), dtype=torch.long, device=valid.device)
        every = torch.arange(valid.numel(), device=valid.device).view_as(valid)
        self.target = every.where(self.visual.mask, -1)
        self.began = now

    def compressed(self, spliced: Spliced) -> Int[Tensor, "B M"]:
        """Take the merged rows out; returns the rows that are left."""
        index, self.rows = self.rows.select(spliced.stays)
        self.target = spliced.target
        self.overhead += spliced.flops
        return index

    def enter_llm(self, embeds: Float[Tensor, "B M D"], now: float) -> None:
        """Everything before the LLM is done."""
        self.itemsize = embeds.element_size()
        self.to_llm = self.rows.visual_counts
        self.entered = self.rows
        self.pruned_after = torch.full_like(self.prompt.origin, -1)
        self.seconds["compress"] = now - self.began
        self.began = now

    def enter_layer(self) -> None:
        """Another layer computes the current rows."""
        self.rows_by_layer.append(self.rows)

    def prune(self, layer: int, kept: Bool[Tensor, "B N"]) -> Int[Tensor, "B M"] | None:
        """Drop the visual rows not in `kept`; returns the rows left, None if nothing was dropped."""
        rows = self.rows
        dropped = rows.visual & ~kept
        if not dropped.any():
            return None
        sample, row = dropped.nonzero(as_tuple=True)
        self.pruned_after[sample, rows.origin[sample, row]] = layer
        index, self.rows = rows.select(~rows.visual | kept)
        return index

    def held(self) -> Held:
        """What the cache holds after this prefill."""
        return Held(
            [rows.mask for rows in self.rows_by_layer], self.offset, self.prompt.valid.shape[1]
        )

    def report(self, now: float) -> Report:
        """The report, once the last layer has run."""
        counts = [rows.visual_counts for rows in self.rows_by_layer]
        text = (self.prompt.valid & ~self.prompt.visual).sum(1).tolist()
        came = self.prompt.visual_counts
        depth = len(self.rows_by_layer)
        full = [prefill_cost(self.config, [n] * depth, t) for n, t in zip(came, text, strict=True)]
        by_layer = [list(sample) for sample in zip(*counts, strict=True)]
        cut = [prefill_cost(self.config, n, t) for n, t in zip(by_layer, text, strict=True)]
        held = [rows.valid.numel() for rows in self.rows_by_layer]
        row_bytes = kv_elements_per_row(self.config) * self.itemsize
        return Report(
            visual_tokens_in=came,
            visual_tokens_to_llm=self.to_llm,
            visual_tokens_by_layer=by_layer,
            text_tokens=text,
            prefill_flops=sum(cost.flops for cost in cut) + self.overhead,
            prefill_flops_unreduced=sum(cost.flops for cost in full),
            kv_bytes=row_bytes * sum(held),
            kv_bytes_unreduced=row_bytes * depth * self.prompt.valid.numel(),
            seconds={**self.seconds, "prefill": now - self.began, "decode": 0.0},
            fired=by_layer != [[n] * depth for n in came],
            **self._fates(),
        )

    def _fates(self) -> dict[str, list[list[int | None]]]:
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
