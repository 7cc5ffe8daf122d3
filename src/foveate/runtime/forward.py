"""What a reduction does at each hook of a model, from the pictures' encoding to the report."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from foveate.errors import NoEffectError, UnsupportedError
from foveate.models.family import EXTRA_FLOPS
from foveate.prune.schedule import Schedule, kept_after
from foveate.reduction import Reduction
from foveate.report import Report
from foveate.runtime.accounting import report_of
from foveate.runtime.continuation import enter_continuation
from foveate.runtime.hooks import LayerHooks
from foveate.runtime.llm_arguments import of_rows, uncut, wants_cache
from foveate.runtime.logits_to_keep import LogitsToKeep
from foveate.runtime.masks import MaskInputs
from foveate.runtime.per_prompt import Choose, chosen
from foveate.runtime.prefill import Prefill, clock
from foveate.runtime.prompt import (
    gather_encodings,
    has_pictures,
    miscounted,
    placeholder_masks,
    refuse_missing_pixels,
)
from foveate.runtime.reduced_cache import mark_reduced, state_of
from foveate.runtime.refusals import (
    refuse_checkpointing,
    refuse_labels,
    refuse_masked_pictures,
    refuse_packed,
    refuse_prefix,
    refuse_prepared_mask,
    refuse_static,
    refuse_unknown_features,
    refuse_unmasked,
)
from foveate.runtime.rows import gather_rows, top_rows
from foveate.runtime.run import Run
from foveate.runtime.seams import cache_in, versions
from foveate.runtime.splice import Spliced, splice
from foveate.runtime.target import Target
from foveate.runtime.vision import EncoderWatch
from foveate.runtime.watch_attention import keep_watching
from foveate.runtime.watch_encoding import Encoded, Notes


class Forward(threading.local):
    """State of the forward that is under way; `threading.local` gives every thread its own."""

    def __init__(
        self,
        target: Target,
        reduction: Reduction,
        choose: Choose | None,
        run: Run,
        encoder: EncoderWatch,
        notes: Notes,
        layer_hooks: LayerHooks,
    ) -> None:
        self.target, self.choose, self.run = target, choose, run
        self.layer_hooks = layer_hooks
        self.encoder, self.notes = encoder, notes
        self.model_config, self.config = target.core.config, target.llm.config
        self.block_kinds = frozenset(
            kind
            for kind in target.layout.kinds
            if target.family.both_ways_in(self.model_config, kind)
        )
        self._take_up(reduction)
        self.watched = [self.config, *encoder.watched_configs]
        self.encodes = False  # whether it does: the LLM may then be reading the question
        self.logits_to_keep: LogitsToKeep | None = None  # what the head is asked for
        self.clear()

    def clear(self) -> None:
        """Forget the forward: it is over, or failed, or another one begins."""
        self.layer_hooks.want(False)
        self.prefill: Prefill | None = None
        self.layer_masks: list[Any] | None = None  # of a forward over a reduced cache
        self.encodings: dict[str, Any] = {}  # of the prompt, by modality
        self.masks: dict[str, Tensor] = {}  # of their placeholders
        self.call: Mapping[str, Any] = {}  # the core's arguments
        self.padding: Any = None  # the prompt's attention mask
        self.block_ids: Tensor | None = None  # inside which attention runs both ways
        self.report: Report | None = None  # whose decode seconds this forward adds to
        self.started = 0.0

    def _take_up(self, reduction: Reduction) -> None:
        inside, depth = reduction.inside, len(self.target.llm.layers)
        self.reduction = reduction
        self.schedule: Schedule = {} if inside is None else inside.schedule(depth)
        self.rating = self.target.layout.rating_layers(self.schedule)

    @property
    def is_off(self) -> bool:
        """Whether no prompt will be reduced."""
        return self.choose is None and self.reduction.is_off

    def _keep_watching(self) -> None:
        for config in self.watched:
            keep_watching(config)

    # --- the prompt -------------------------------------------------------------------------------

    def see_encoding(
        self, modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]
    ) -> Any:
        """Encode, and note the groups of what came out."""
        self._keep_watching()
        device = next((v.device for v in arguments.values() if isinstance(v, Tensor)), None)
        began = clock(device)
        self.encodes = True
        try:
            with self.encoder.encoding(modality, arguments):
                output = encode()
        finally:
            self.encodes = False
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:  # asked for as a bare tuple, which no forward takes
            return output
        family, core = self.target.family, self.target.core
        groups = family.groups(core, modality, arguments, pooled)
        signals = self.encoder.encoder_signals(modality, arguments, groups)
        grids = []
        if "grid" in self.encoder.needs:
            grids = family.grids(core, modality, arguments, groups)
        note = Encoded(
            groups, self.encoder.patches, signals, grids, self.encoder.flops or [0] * len(groups),
            clock(device) - began, getattr(output, EXTRA_FLOPS, ()), *self.encoder.flops_of(groups),
        )  # fmt: skip
        self.notes.add(modality, pooled, note)
        self.encodings[modality] = output
        return output

    def enter_model(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The whole model is called: see what is asked of its head."""
        call = self.target.seams.head.bind(args, kwargs)
        self.logits_to_keep = None
        self._begin(call)
        if self.is_off:
            return None
        refuse_labels(call)
        if has_pictures(call):
            self.target.family.refuse(call)
        for modality, output in (call.get("mm_encoder_outputs") or {}).items():
            if self.notes.find(modality, output.pooler_output) is None:
                refuse_unknown_features()
        placeholders = self.target.family.placeholders(self.model_config)
        masks, head = placeholder_masks(placeholders, call), self.target.seams.head
        if "logits_to_keep" in head.names:  # others say all logits, whatever is asked
            self.logits_to_keep = LogitsToKeep.of(call, masks)
        if self.logits_to_keep is None:
            return None
        return head.rebind(args, kwargs, {"logits_to_keep": self.logits_to_keep.of_head})

    def _begin(self, call: Mapping[str, Any]) -> None:
        """A new prompt has no report until it has run; what goes on from a cache has its prompt's."""
        cache = cache_in(call)
        if has_pictures(call) or cache is None or not cache.get_seq_length():
            self.run.lapse("the last run did not come to its end")

    def enter_core(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The prompt, or what goes on from it, is seen."""
        self.clear()
        if self.choose is not None:
            self._take_up(Reduction())  # until this prompt's is chosen
        call = self.target.seams.core.bind(args, kwargs)
        self._begin(call)
        device = next((v.device for v in call.values() if isinstance(v, Tensor)), None)
        self.started = clock(device)
        self._keep_watching()
        self.encodings = dict(call.get("mm_encoder_outputs") or {})
        placeholders = self.target.family.placeholders(self.model_config)
        self.masks = placeholder_masks(placeholders, call, refuse_embeds=not self.is_off)
        cache = cache_in(call)
        if self.masks and state_of(cache) is not None:
            refuse_prefix(cache)  # off, too: stock masks would be wrong
        self.padding, self.block_ids = call.get("attention_mask"), self.target.family.blocks(call)
        if not self.masks:
            if not self.is_off:
                refuse_missing_pixels(placeholders, call, cache)
            if cache is None or not cache.get_seq_length():
                self.run.lapse("the last run was no prompt with visual tokens")
            return
        self.call = call
        self._refuse(cache)

    def _refuse(self, cache: Any) -> None:
        """Refuse, before anything is computed, what a reduced prefill cannot honour."""
        if self.reduction.is_off:
            return
        refuse_static(cache)
        refuse_prefix(cache)
        refuse_prepared_mask(self.padding, next(iter(self.masks.values())).shape[1])
        refuse_packed(self.call, self.padding)
        refuse_checkpointing(self.target.llm)
        if self.reduction.before is not None and not self.reduction.before.is_off:
            refuse_masked_pictures(self.masks, self.padding)

    # --- the LLM's entrance -----------------------------------------------------------------------

    def enter_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Swap the visual tokens of a prompt, or prepare the masks of what goes on from one."""
        if self.encodes:
            return None
        llm = self.target.seams.llm
        call = llm.bind(args, kwargs)
        cache = cache_in(call)
        if self.masks:
            gathered = gather_encodings(self.masks, self.encodings, self.notes)
            if gathered is None:
                return self._pass_unknown_features()
            self.prefill = Prefill(*gathered, self.target)
            return llm.rebind(args, kwargs, self._enter_prefill(self.prefill, call, cache))
        state = state_of(cache)
        if state is None:
            self.report = None if cache is None else self.run.of_cache(cache)
            return None
        self.report = self.run.of_cache(cache)
        given, self.layer_masks = enter_continuation(
            state, self.config, self.target.layout, self.padding, call, cache
        )
        self.layer_hooks.want(self.layer_masks is not None)
        return llm.rebind(args, kwargs, given)

    def _pass_unknown_features(self) -> None:
        """Let features that were encoded elsewhere pass if nothing is to be reduced."""
        if not self.is_off:
            refuse_unknown_features(miscounted(self.masks, self.encodings, self.notes))
        self.run.lapse("the last prompt's pictures were not encoded inside this reduce()")

    def _enter_prefill(self, prefill: Prefill, call: dict[str, Any], cache: Any) -> dict[str, Any]:
        """Returns what is changed among the LLM's arguments."""
        embeds = call["inputs_embeds"]
        valid = embeds.new_ones(embeds.shape[:2], dtype=torch.bool)
        past = 0 if cache is None else int(cache.get_seq_length())
        if isinstance(self.padding, Tensor) and self.padding.shape[1:] == (past + valid.shape[1],):
            valid = self.padding[:, past:].bool().to(embeds.device)
        if self.choose is not None:
            reduction = chosen(self.choose, prefill.visual, valid)
            self.target.refuse(reduction)
            self._take_up(reduction)
            self._refuse(cache)
        positions = call.get("position_ids")
        if positions is None or positions.dim() != 2:
            positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        inputs = MaskInputs(positions.expand(embeds.shape[:2]), self.block_ids, self.block_kinds)
        prefill.begin(valid, inputs, clock(embeds.device), is_off=self.reduction.is_off)
        before, spliced, changed = self.reduction.before, None, {}
        if before is not None and not before.is_off:
            spliced = splice(embeds, prefill.visual, before, valid, self._project)
            changed = self._take_out(prefill, spliced, call, cache)
        if not self.reduction.is_off:
            given = dict(call)
            prefill.add_deepstack(self.target.family.deepstack(given), spliced)
            changed |= {name: given.get(name) for name in call if given.get(name) is not call[name]}
            changed |= uncut(call)
        if cache is None and wants_cache(call, self.config):
            cache = DynamicCache(config=self.config)
            changed[self.target.seams.llm.cache_name(call)] = cache
        prefill.cache = cache
        # off, nothing is asked of the layers, unless some are handed other rows than the rest
        self.layer_hooks.want(self.target.layout.shares_keys or not self.reduction.is_off)
        embeds = changed.get("inputs_embeds", embeds)
        prefill.enter_llm(embeds, clock(embeds.device))
        return changed

    def _take_out(
        self, prefill: Prefill, spliced: Spliced, call: Mapping[str, Any], cache: Any
    ) -> dict[str, Any]:
        """Take merged rows out of what the LLM gets."""
        index = prefill.compressed(spliced)
        rows, positions = prefill.rows, call.get("position_ids")
        if self.target.family.grid_positions and positions is not None:
            # the places on the grid alone: a fourth row only tells packed sequences apart
            positions = positions if positions.dim() == 2 else positions[-3:]
        else:
            positions = prefill.mask_inputs.positions
            prefill.offset = (~spliced.stays & prefill.prompt.valid).sum(1)
        positions = positions.gather(-1, index.expand(*positions.shape[:-1], -1))
        refuse_unmasked(self.config, rows.mask)
        mask = rows.mask
        if cache is None and mask is None and bool((positions.diff(dim=-1) != 1).any()):
            # without a cache and a mask transformers takes a gap for the seam of two documents
            mask = rows.valid
        others = {
            name: of_rows(value, index, spliced.stays.shape[1]) for name, value in call.items()
        }
        return others | {
            "position_ids": positions,
            "inputs_embeds": gather_rows(spliced.embeds, index),
            "attention_mask": mask,
        }

    def _project(self, features: Tensor) -> Tensor:
        return self.target.family.projector(self.target.core)(features)

    # --- the layers -------------------------------------------------------------------------------

    def enter_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Hand a layer the masks and positions of the rows that it computes."""
        if self.encodes or (self.prefill is None and self.layer_masks is None):
            return None
        layer = self.target.seams.layers[index]
        if self.prefill is None:
            masks: Any = self.layer_masks
            return layer.rebind(args, kwargs, {layer.mask: masks[index]})
        changed = self.prefill.enter_layer(index, layer, layer.bind(args, kwargs))
        return layer.rebind(args, kwargs, changed)

    def score(self, index: int, query: Tensor, key: Tensor, scaling: float | None) -> None:
        """Let the method inside the LLM rate the rows of a layer."""
        prefill, pruner = self.prefill, self.reduction.inside
        if self.encodes or prefill is None or pruner is None or index not in self.rating:
            return
        began = clock(query.device)
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            prefill.score(pruner, query, key, scaling)
        prefill.seconds["score"] += clock(query.device) - began

    def leave_layer(self, index: int, output: Any) -> Any:
        """Add DeepStack features, and drop the rows that are pruned behind this layer."""
        prefill = self.prefill
        if self.encodes or prefill is None:
            return None
        before = output[0] if isinstance(output, tuple) else output
        states = prefill.leave_layer(index, before)
        if index in self.schedule:
            states = self._prune(prefill, index, states)
        if states is before:
            return None
        return (states, *output[1:]) if isinstance(output, tuple) else states

    def _prune(self, prefill: Prefill, index: int, states: Tensor) -> Tensor:
        rows = prefill.rows
        counts = [kept_after(self.schedule[index], n) for n in prefill.to_llm]
        kept = torch.zeros_like(rows.visual)
        if any(counts):
            if prefill.scores is None:
                raise UnsupportedError(
                    f"the attention of layer {index} does not go through transformers' "
                    f"AttentionInterface, so its rows cannot be rated; {versions()}"
                )
            kept = top_rows(prefill.scores, rows.visual, counts)
        chosen = prefill.prune(index, kept)
        return states if chosen is None else gather_rows(states, chosen)

    # --- the LLM's exit ---------------------------------------------------------------------------

    def leave_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Report, and make the cache know what it holds."""
        if self.encodes:
            return
        prefill = self.prefill
        if prefill is None:
            if self.report is not None:
                self.report.seconds["decode"] += clock(output[0].device) - self.started
            self.layer_masks = None
            return
        self.prefill, self.encodings = None, {}
        if not self.layer_hooks.are_wanted:
            prefill.rows_by_layer = [prefill.rows] * len(self.target.llm.layers)
        prefill.check(len(self.target.llm.layers), cache_in(output))
        report = report_of(prefill, clock(output[0].device))
        if not report.fired and self.reduction.is_sure:
            raise NoEffectError(
                f"{self.reduction} changed nothing: {sum(report.visual_tokens_in)} visual tokens came in "
                "and every layer computed all of them"
            )
        self.run.add(report, prefill.cache)
        if prefill.cache is not None and report.fired:
            mark_reduced(prefill.cache, prefill.cache_state())
        if self.logits_to_keep is not None:
            self.logits_to_keep.last_rows = prefill.rows

    def leave(self) -> bool:
        """Forget a forward that is over or failed; returns whether its prompt will not run again.

        Without a cache, `generate` runs a prompt and its pictures anew for every token.
        """
        again = bool(self.masks) and cache_in(self.call) is None and self.prefill is None
        self.logits_to_keep = None
        self.clear()
        return not again

    def leave_core(self, output: Any) -> Any:
        """Hand the head the rows whose logits are asked for."""
        if self.logits_to_keep is None or self.logits_to_keep.last_rows is None:
            return None
        states, self.logits_to_keep = self.logits_to_keep.pick(output[0]), None
        if isinstance(output, tuple):
            return (states, *output[1:])
        output.last_hidden_state = states
        return output
