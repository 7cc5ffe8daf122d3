"""`foveate.reduce`: a reduction at work on an unmodified transformers model, for the length of a `with`.

Forward hooks do it all: one sees the prompt, one swaps the visual tokens at the LLM's input, one a
layer hands it the masks and positions of the rows that it still computes, and one behind a pruning
layer drops rows. On leaving, also by an exception, the hooks are gone and nothing else was touched.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from foveate.errors import InputError, NoEffectError
from foveate.models.attention import watch
from foveate.models.choice import Choose, chosen
from foveate.models.continuation import enter_continuation
from foveate.models.encoding import CHARGE, NOTE, Encoded, watch_encoding
from foveate.models.family import Family, family_of
from foveate.models.held import held_by, mark_reduced
from foveate.models.masks import Sight
from foveate.models.prefill import Prefill
from foveate.models.prompt import gather_encodings, placeholder_masks, refuse_missing_pixels
from foveate.models.refusals import (
    refuse,
    refuse_compiled,
    refuse_labels,
    refuse_prefix,
    refuse_unmasked,
)
from foveate.models.rows import gather_rows, top_rows
from foveate.models.splice import Spliced, splice
from foveate.models.vision import EncoderWatch
from foveate.prune.schedule import Schedule, kept_after
from foveate.reduction import Reduction, Report


class Run:
    """What happens inside one `with foveate.reduce(...)`.

    Attributes:
        reports: one `Report` for every prefill that had visual tokens.
    """

    def __init__(self) -> None:
        self.reports: list[Report] = []

    @property
    def report(self) -> Report:
        """Report of the last prefill.

        Raises:
            NoEffectError: no prompt with visual tokens has run yet.
        """
        if not self.reports:
            raise NoEffectError("no prompt with visual tokens has run inside this reduce() yet")
        return self.reports[-1]


@contextmanager
def reduce(model: Any, reduction: Reduction | Choose) -> Iterator[Run]:
    """Reduce the visual tokens of every forward and `generate` of `model` on this thread.

    Args:
        model: a stock transformers vision-language model of a supported family.
        reduction: what to do before and inside the LLM, or what chooses it for each prompt.

    Yields:
        The run, whose `report` tells what the last prefill did.

    Raises:
        UnsupportedError: model family, cache kind or option that cannot be reduced.
        InputError: not a Reduction, layers out of range for this model, or a reduce() inside another.
        NoEffectError: the reduction was asked for and changed nothing.
    """
    if not (isinstance(reduction, Reduction) or callable(reduction)):
        raise InputError(
            f"reduce() takes a Reduction such as foveate.AIM(keep=0.25), got {reduction!r}"
        )
    refuse_compiled(model)
    reducer = Reducer(model, family_of(model), reduction)
    with reducer.installed():
        yield reducer.run
    reducer.check_thread()


_active: set[tuple[int, int]] = set()  # (thread, model) pairs inside a reduce()


class Reducer:
    """The hooks of one reduction on one model; they act on the thread that entered the `with`."""

    def __init__(self, model: Any, family: Family, reduction: Reduction | Choose) -> None:
        self.model, self.core = model, model.model
        self.family = family
        self.llm = family.language_model(self.core)
        self.config = self.llm.config
        self.choose = None if isinstance(reduction, Reduction) else reduction
        self._take_up(reduction if isinstance(reduction, Reduction) else Reduction())
        self.parameters = tuple(inspect.signature(self.core.forward).parameters)
        self.thread = threading.get_ident()
        self.strangers = 0  # forwards on other threads, inside no reduce() of their own
        self.run = Run()
        self.reports: WeakKeyDictionary[Any, Report] = WeakKeyDictionary()  # by cache
        self.prefill: Prefill | None = None
        self.layer_masks: list[Any] | None = None  # of a forward over a reduced cache
        self.encodings: dict[str, Any] = {}  # of the prompt, by modality
        self.masks: dict[str, Tensor] = {}  # of their placeholders
        self.padding: Any = None  # the prompt's attention mask
        self.block: Tensor | None = None  # inside which attention runs both ways
        self.encoder = EncoderWatch(family, self.core, self.reduction.before)
        self.encoding = False  # whether one is under way: the LLM may then be reading the question
        self.started = 0.0

    @property
    def is_off(self) -> bool:
        """Whether no prompt will be reduced."""
        return self.choose is None and self.reduction.is_off

    def _take_up(self, reduction: Reduction) -> None:
        inside, depth = reduction.inside, len(self.llm.layers)
        self.reduction = reduction
        self.schedule: Schedule = {} if inside is None else inside.schedule(depth)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hooks in, then out."""
        key = (self.thread, id(self.model))
        if key in _active:
            raise InputError(
                "this model is already inside a reduce() on this thread; nest no second one"
            )
        layers = self.llm.layers
        with ExitStack() as stack:
            _active.add(key)
            stack.callback(_active.discard, key)

            def hook(module: nn.Module, action: Any, *, after: bool = False) -> None:
                place = module.register_forward_hook if after else module.register_forward_pre_hook
                stack.callback(place(self._mine(action), with_kwargs=True).remove)

            hook(self.model, self._refuse_labels)
            hook(self.core, self._see_prompt)
            hook(self.llm, self._enter_llm)
            hook(self.llm, self._leave_llm, after=True)
            stack.enter_context(watch_encoding(self.core, self._see_encoding))
            for module, action, after in self.encoder.hooks():
                hook(module, action, after=after)
            stack.enter_context(self.encoder.watching())
            for index, layer in enumerate(layers):
                hook(layer, self._layer_entrance(index))
                hook(layer, self._layer_exit(index), after=True)
            scored = [index for index, share in self.schedule.items() if share]
            if self.choose is not None:
                scored = range(len(layers))
            if scored:
                watchers = {layers[index].self_attn: self._scorer(index) for index in scored}
                stack.enter_context(watch(self.config, watchers))
            yield

    def check_thread(self) -> None:
        """Tell a user whose generation ran on another thread that nothing was reduced.

        Raises:
            NoEffectError: only other threads used the model.
        """
        if self.strangers and not self.started and not self.is_off:
            raise NoEffectError(
                "the model ran on another thread only, which a reduce() does not touch; "
                "enter reduce() on the thread that generates"
            )

    def _mine(self, action: Any) -> Any:
        def on_own_thread(module: nn.Module, *values: Any) -> Any:
            thread = threading.get_ident()
            if thread != self.thread:
                self.strangers += module is self.llm and (thread, id(self.model)) not in _active
                return None
            if self.encoding and module is self.llm:
                return None
            return action(*values)

        return on_own_thread

    # --- the prompt -------------------------------------------------------------------------------

    def _refuse_labels(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.is_off:
            refuse_labels(kwargs)

    def _see_encoding(
        self, modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]
    ) -> Any:
        """Encode, and note the groups of what came out."""
        began = clock(self.llm)
        self.encoder.begin()
        self.encoding = True
        try:
            output = encode()
        finally:
            self.encoding = False
        pooled = output.pooler_output
        groups = self.family.groups(self.core, modality, arguments, pooled)
        known = self.encoder.known(modality, arguments, groups)
        grids = []
        if "grid" in self.encoder.needs:
            grids = self.family.grids(self.core, modality, arguments, groups)
        note = Encoded(
            pooled, groups, self.encoder.patches, known, grids, self.encoder.flops,
            clock(self.llm) - began, getattr(output, CHARGE, 0),
        )  # fmt: skip
        setattr(output, NOTE, note)
        self.encodings[modality] = output
        return output

    def _see_prompt(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.started = clock(self.llm)
        self.prefill = self.layer_masks = None
        kwargs = {**dict(zip(self.parameters, args, strict=False)), **kwargs}
        self.encodings = dict(kwargs.get("mm_encoder_outputs") or {})
        placeholders = self.family.placeholders(self.core.config)
        self.masks = placeholder_masks(placeholders, kwargs)
        if not self.masks and not self.is_off:
            refuse_missing_pixels(placeholders, kwargs)
        if self.masks and held_by(kwargs.get("past_key_values")) is not None:
            refuse_prefix(kwargs["past_key_values"])  # off, too: stock masks would be wrong
        self.padding, self.block = kwargs.get("attention_mask"), self.family.blocks(kwargs)

    # --- the LLM's entrance -----------------------------------------------------------------------

    def _enter_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        cache = kwargs.get("past_key_values")
        if self.encodings:
            visual, seconds = gather_encodings(self.masks, self.encodings)
            self.prefill = Prefill(visual, self.config, seconds)
            return args, self._enter_prefill(self.prefill, dict(kwargs))
        held = held_by(cache)
        if held is None:
            return None
        given, self.layer_masks = enter_continuation(held, self.config, self.padding, kwargs)
        return args, given

    def _enter_prefill(self, prefill: Prefill, kwargs: dict[str, Any]) -> dict[str, Any]:
        embeds, cache = kwargs["inputs_embeds"], kwargs.get("past_key_values")
        valid = embeds.new_ones(embeds.shape[:2], dtype=torch.bool)
        if isinstance(self.padding, Tensor) and self.padding.dim() == 2:
            # behind a cached prefix the mask is longer than what is new
            valid = self.padding[:, -embeds.shape[1] :].bool()
        if self.choose is not None:
            self._take_up(chosen(self.choose, prefill.visual, valid))
        if not self.reduction.is_off:
            refuse(self.llm, self.padding, cache)
        place = kwargs.get("position_ids")
        if place is None or place.dim() != 2:
            place = torch.arange(embeds.shape[1], device=embeds.device)[None]
        sight = Sight(place.expand(embeds.shape[:2]), self.block)
        prefill.begin(valid, sight, clock(self.llm))
        before, spliced = self.reduction.before, None
        if before is not None and not before.is_off:
            spliced = splice(embeds, prefill.visual, before, valid, self._project)
            self._take_out(prefill, spliced, kwargs)
        if not self.reduction.is_off:
            prefill.carry(self.family.deepstack(kwargs), spliced)
        if cache is None and wants_cache(kwargs, self.config):
            kwargs["past_key_values"] = cache = DynamicCache(config=self.config)
        prefill.cache = cache
        prefill.enter_llm(kwargs["inputs_embeds"], clock(self.llm))
        return kwargs

    def _take_out(self, prefill: Prefill, spliced: Spliced, kwargs: dict[str, Any]) -> None:
        """Take merged rows out of what the LLM gets."""
        index = prefill.compressed(spliced)
        positions = kwargs.get("position_ids")
        if self.family.grid_positions and positions is not None:
            # the places on the grid alone: a fourth row only tells packed sequences apart
            positions = positions if positions.dim() == 2 else positions[-3:]
        else:
            positions = prefill.sight.place
            prefill.offset = (~spliced.stays & prefill.prompt.valid).sum(1)
        kwargs["position_ids"] = positions.gather(-1, index.expand(*positions.shape[:-1], -1))
        kwargs["inputs_embeds"] = gather_rows(spliced.embeds, index)
        kwargs["attention_mask"] = prefill.rows.mask
        refuse_unmasked(self.config, prefill.rows.mask)

    def _project(self, features: Tensor) -> Tensor:
        return self.family.projector(self.core)(features)

    # --- the layers -------------------------------------------------------------------------------

    def _layer_entrance(self, index: int) -> Any:
        def enter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.prefill is not None:
                states = args[0] if args else kwargs["hidden_states"]
                return args, {**kwargs, **self.prefill.enter_layer(index, states, kwargs)}
            if self.layer_masks is not None:
                return args, {**kwargs, "attention_mask": self.layer_masks[index]}
            return None

        return enter

    def _scorer(self, index: int) -> Any:
        def score(query: Tensor, key: Tensor, scaling: float | None) -> None:
            prefill, pruner = self.prefill, self.reduction.inside
            if prefill is None or pruner is None or not self.schedule.get(index):
                return
            began = clock(self.llm)
            with torch.no_grad():
                prefill.score(pruner, query, key, scaling)
            prefill.seconds["score"] += clock(self.llm) - began

        return score

    def _layer_exit(self, index: int) -> Any:
        def leave(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            prefill = self.prefill
            if prefill is None:
                return None
            before = output[0] if isinstance(output, tuple) else output
            states = prefill.leave_layer(index, before)
            if index in self.schedule:
                states = self._prune(prefill, index, states)
            if states is before:
                return None
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return leave

    def _prune(self, prefill: Prefill, index: int, states: Tensor) -> Tensor:
        rows = prefill.rows
        counts = [kept_after(self.schedule[index], n) for n in prefill.to_llm]
        kept = torch.zeros_like(rows.visual)
        if any(counts):
            kept = top_rows(prefill.scores, rows.visual, counts)
        chosen = prefill.prune(index, kept)
        return states if chosen is None else gather_rows(states, chosen)

    # --- the LLM's exit ---------------------------------------------------------------------------

    def _leave_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        now = clock(self.llm)
        if self.prefill is None:
            cache = kwargs.get("past_key_values")
            if cache is not None and cache in self.reports:
                self.reports[cache].seconds["decode"] += now - self.started
            self.layer_masks = None
            return
        prefill, self.prefill, self.encodings = self.prefill, None, {}
        report = prefill.report(now)
        if not report.fired and not self.reduction.is_off:
            raise NoEffectError(
                f"{self.reduction} changed nothing: {sum(report.visual_tokens_in)} visual tokens came in "
                "and every layer computed all of them"
            )
        self.run.reports.append(report)
        if prefill.cache is not None:
            self.reports[prefill.cache] = report
            if report.fired:
                mark_reduced(prefill.cache, prefill.held())


def wants_cache(kwargs: dict[str, Any], config: Any) -> bool:
    """Whether the LLM would make itself a cache."""
    asked = kwargs.get("use_cache")
    return bool(getattr(config, "use_cache", False) if asked is None else asked)


def clock(module: nn.Module) -> float:
    """Seconds now, after all work queued on the module's device."""
    device = next(module.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
