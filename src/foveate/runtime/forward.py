"""What a reduction does at each hook of a model, from the pictures' encoding to the report."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from foveate.errors import NoEffectError
from foveate.models.family import EXTRA_FLOPS
from foveate.prune.schedule import Schedule, kept_after
from foveate.reduction import Reduction
from foveate.runtime.accounting import report_of
from foveate.runtime.continuation import enter_continuation
from foveate.runtime.head import Asked
from foveate.runtime.history import History
from foveate.runtime.hooks import LayerHooks
from foveate.runtime.llm_arguments import cache_to_fill, sizes_on_host, uncut
from foveate.runtime.masks import MaskInputs
from foveate.runtime.per_prompt import Choose, chosen
from foveate.runtime.prefill import Prefill
from foveate.runtime.prompt import (
    Placeholders,
    gather_encodings,
    has_pictures,
    miscounted,
    placeholder_masks,
    refuse_missing_pixels,
)
from foveate.runtime.reduced_cache import mark_reduced, state_of
from foveate.runtime.refusals import (
    refuse_checkpointing,
    refuse_history,
    refuse_masked_pictures,
    refuse_packed,
    refuse_prepared_mask,
    refuse_static,
    refuse_unknown_features,
)
from foveate.runtime.rows import gather_rows
from foveate.runtime.run import Run
from foveate.runtime.seams import cache_in
from foveate.runtime.splice import splice
from foveate.runtime.target import Target
from foveate.runtime.timing import Moment, Span, Timings
from foveate.runtime.vision import EncoderWatch
from foveate.runtime.watch_attention import keep_watching
from foveate.runtime.watch_encoding import Encoded, Notes
from foveate.runtime.without_merged import without_merged


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
        self.placeholders = target.family.placeholders(self.model_config)
        self.block_kinds = frozenset(
            kind
            for kind in target.layout.kinds
            if target.family.both_ways_in(self.model_config, kind)
        )
        self._take_up(reduction)
        self.encodes = False  # whether it does: the LLM may then be reading the question
        self.asked: Asked | None = None  # of the head
        self.clear()

    def clear(self) -> None:
        """Forget the forward: it is over, or failed, or another one begins."""
        self.prefill: Prefill | None = None
        self.layer_masks: list[Any] | None = None  # of a forward over a reduced cache
        self.encodings: dict[str, Any] = {}  # of the prompt, by modality
        self.masks = Placeholders()
        self.call: Mapping[str, Any] = {}  # the core's arguments
        self.padding: Any = None  # the prompt's attention mask
        self.block_ids: Tensor | None = None  # inside which attention runs both ways
        self.timings: Timings | None = None  # which this forward's decoding adds to
        self.started: Moment | None = None

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
        for config in self.encoder.watched_configs:
            keep_watching(config)

    # --- the prompt -------------------------------------------------------------------------------

    def see_encoding(
        self, modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]
    ) -> Any:
        """Encode, and note the groups of what came out."""
        self._keep_watching()
        device = next((v.device for v in arguments.values() if isinstance(v, Tensor)), None)
        began, arguments = Moment(device), sizes_on_host(arguments)
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
            Span(began, Moment(device)), getattr(output, EXTRA_FLOPS, ()), *self.encoder.flops_of(groups),
        )  # fmt: skip
        self.notes.add(modality, pooled, note)
        self.encodings[modality] = output
        return output

    def enter_model(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The whole model is called: see what is asked of its head."""
        call = self.target.seams.head.bind(args, kwargs)
        self.asked = None
        self._begin(call)
        if self.is_off:
            return None
        if has_pictures(call):
            self.target.family.refuse(call)
        for modality, output in (call.get("mm_encoder_outputs") or {}).items():
            if self.notes.find(modality, output.pooler_output) is None:
                refuse_unknown_features()
        head, self.masks = self.target.seams.head, placeholder_masks(self.placeholders, call)
        self.asked = Asked(call, self.masks, head)
        return head.rebind(args, kwargs, self.asked.changed)

    def _begin(self, call: Mapping[str, Any]) -> None:
        """A new prompt has no report until it has run; what goes on from a cache has its prompt's."""
        cache = cache_in(call)
        if has_pictures(call) or cache is None or not cache.get_seq_length():
            self.run.settle()
            self.run.lapse("the last run did not come to its end")

    def enter_core(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The prompt, or what goes on from it, is seen."""
        masks = self.masks  # as the whole model's hook saw them, if it is the whole that runs
        self.clear()
        if self.choose is not None:
            self._take_up(Reduction())  # until this prompt's is chosen
        call = self.target.seams.core.bind(args, kwargs)
        self._begin(call)
        device = next((v.device for v in call.values() if isinstance(v, Tensor)), None)
        self.started = Moment(device)
        self._keep_watching()
        self.encodings = dict(call.get("mm_encoder_outputs") or {})
        if not masks.are_of(call):
            masks = placeholder_masks(self.placeholders, call, refuse_embeds=not self.is_off)
        self.masks = masks
        cache = cache_in(call)
        self.padding, self.block_ids = call.get("attention_mask"), self.target.family.blocks(call)
        if self.masks and state_of(cache) is not None:  # off, too: stock masks would be wrong
            refuse_history(cache, self.target.layout, self.block_ids)
        if not self.masks:
            if not self.is_off:
                refuse_missing_pixels(self.placeholders, call, cache)
            if cache is None or not cache.get_seq_length():
                self.run.lapse("the last run was no prompt with visual tokens")
            return
        self.call = call
        self.layer_hooks.want(None)
        self._refuse(cache)

    def _refuse(self, cache: Any) -> None:
        """Refuse, before anything is computed, what a reduced prefill cannot honour."""
        if self.reduction.is_off:
            return
        refuse_static(cache)
        refuse_history(cache, self.target.layout, self.block_ids)
        past = 0 if cache is None else int(cache.get_seq_length())
        refuse_prepared_mask(self.padding, past + next(iter(self.masks.values())).shape[1])
        refuse_packed(self.call, self.masks.valid)
        refuse_checkpointing(self.target.llm, self.encoder.shortened_layers)
        if self.reduction.before is not None and not self.reduction.before.is_off:
            refuse_masked_pictures(self.masks.here, self.masks.valid)

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
            self.layer_hooks.want(None)
            self.timings = None if cache is None else self.run.timings_of(cache)
            return None
        self.timings = self.run.timings_of(cache)
        going_on = enter_continuation(
            state, self.config, self.target.layout, self.padding, call, cache
        )
        self.layer_masks = going_on.masks
        self.run.await_answer(going_on.check)
        # they stay for the next step
        self.layer_hooks.want(None if self.layer_masks is None else "step")
        return llm.rebind(args, kwargs, going_on.changed)

    def _pass_unknown_features(self) -> None:
        """Let features that were encoded elsewhere pass if nothing is to be reduced."""
        if not self.is_off:
            refuse_unknown_features(miscounted(self.masks, self.encodings, self.notes))
        self.run.lapse("the last prompt's pictures were not encoded inside this reduce()")

    def _enter_prefill(self, prefill: Prefill, call: dict[str, Any], cache: Any) -> dict[str, Any]:
        """Returns what is changed among the LLM's arguments."""
        embeds = call["inputs_embeds"]
        valid = embeds.new_ones(embeds.shape[:2], dtype=torch.bool)
        here: Any = torch.ones(embeds.shape[:2], dtype=torch.bool)
        past = 0 if cache is None else int(cache.get_seq_length())
        if isinstance(self.padding, Tensor) and self.padding.shape[1:] == (past + valid.shape[1],):
            valid = self.padding[:, past:].bool().to(embeds.device)
            here = None if past else self.masks.valid
        if self.choose is not None:
            reduction = chosen(self.choose, prefill.visual, valid)
            self.target.refuse(reduction)
            self._take_up(reduction)
            self._refuse(cache)
        is_off, layout = self.reduction.is_off, self.target.layout
        prefill.history = History.behind(cache, layout, self.padding, embeds, is_off=is_off)
        positions = call.get("position_ids")
        if positions is None or positions.dim() != 2:
            positions = torch.arange(past, past + embeds.shape[1], device=embeds.device)[None]
        if prefill.history is not None:
            positions = positions - prefill.history.state.offset[:, None]
        inputs = MaskInputs(positions.expand(embeds.shape[:2]), self.block_ids, self.block_kinds)
        now = Moment(embeds.device)
        prefill.begin(valid, here, inputs, now, is_off=is_off)
        before, spliced = self.reduction.before, None
        changed: dict[str, Any] = {}
        prefill.cache, filled = cache_to_fill(call, self.target.seams.llm, self.target.llm)
        if prefill.history is not None:
            changed["attention_mask"] = None  # each layer is handed its own
            if not self.target.family.grid_positions:
                changed["position_ids"] = positions
        if before is not None and not before.is_off:
            spliced = splice(embeds, prefill.visual, before, valid, self._project)
            changed |= without_merged(call, prefill, spliced, self.target)
        changed |= filled
        if not is_off:
            given = dict(call)
            prefill.add_deepstack(self.target.family.deepstack(given), spliced)
            changed |= {name: given.get(name) for name in call if given.get(name) is not call[name]}
            changed |= uncut(call)
        # off, nothing is asked of the layers, unless some are handed other rows than the rest
        asks = layout.shares_keys or not is_off or prefill.history is not None
        self.layer_hooks.want("prefill" if asks else None)
        embeds = changed.get("inputs_embeds", embeds)
        prefill.enter_llm(embeds, Moment(embeds.device))
        return changed

    def _project(self, features: Tensor) -> Tensor:
        return self.target.family.projector(self.target.core)(features)

    # --- the layers -------------------------------------------------------------------------------

    def enter_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Hand a layer the masks and positions of the rows that it computes."""
        if self.encodes or self.prefill is None:
            return None
        layer = self.target.seams.layers[index]
        changed = self.prefill.enter_layer(index, layer, layer.bind(args, kwargs))
        return layer.rebind(args, kwargs, changed)

    def mask_layer(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Hand a layer the mask of the rows that it has cached."""
        if self.encodes or self.layer_masks is None:
            return None
        layer = self.target.seams.layers[index]
        return layer.rebind(args, kwargs, {layer.mask: self.layer_masks[index]})

    def score(self, index: int, query: Tensor, key: Tensor, scaling: float | None) -> None:
        """Let the method inside the LLM rate the rows of a layer."""
        prefill, pruner = self.prefill, self.reduction.inside
        if self.encodes or prefill is None or pruner is None or index not in self.rating:
            return
        began = Moment(query.device)
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            prefill.score(pruner, index, query, key, scaling)
        prefill.timings.add("score", Span(began, Moment(query.device)))

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
        counts = [kept_after(self.schedule[index], n) for n in prefill.to_llm]
        chosen = prefill.prune(index, counts)
        return states if chosen is None else gather_rows(states, chosen)

    # --- the LLM's exit ---------------------------------------------------------------------------

    def leave_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Report, and make the cache know what it holds."""
        if self.encodes:
            return
        prefill = self.prefill
        if prefill is None:
            if self.timings is not None and self.started is not None:
                self.timings.add("decode", Span(self.started, Moment(output[0].device)))
            self.layer_masks = None
            return
        self.prefill, self.encodings = None, {}
        if self.layer_hooks.wanted is None:
            prefill.rows_by_layer = [prefill.rows] * len(self.target.llm.layers)
        prefill.check(len(self.target.llm.layers), cache_in(output))
        prefill.timings.add("prefill", Span(prefill.began, Moment(output[0].device)))
        report = report_of(prefill)
        if not report.fired and self.reduction.is_sure:
            raise NoEffectError(
                f"{self.reduction} changed nothing: {sum(report.visual_tokens_in)} visual tokens came in "
                "and every layer computed all of them"
            )
        self.run.add(report, prefill.timings, prefill.cache)
        if prefill.cache is not None and (report.fired or prefill.history is not None):
            mark_reduced(prefill.cache, prefill.cache_state())
        if self.asked is not None:
            self.asked.follow(prefill.rows)

    def leave(self) -> bool:
        """Forget a forward that is over or failed; returns whether its prompt will not run again.

        Without a cache, `generate` runs a prompt and its pictures anew for every token.
        """
        again = bool(self.masks) and cache_in(self.call) is None and self.prefill is None
        self.asked = None
        if self.layer_hooks.wanted == "prefill":
            self.layer_hooks.want(None)
        self.clear()
        return not again

    def leave_core(self, output: Any) -> Any:
        """Hand the head the rows whose logits are asked for."""
        asked, self.asked = self.asked, None
        return None if asked is None else asked.pick(output)
