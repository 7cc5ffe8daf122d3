"""`foveate.reduce` by forward hooks on an unmodified transformers model, for the length of a `with`.

One hook sees the prompt, one replaces the visual tokens at the LLM's input, one for each layer hands it
the masks and positions of the rows that are left, and one after each pruning layer drops rows (`Forward`
has what each does). Those of the layers are there only while a forward needs them. On leaving, also by an
exception, the hooks are removed; nothing else was touched.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from foveate.errors import InputError, UnsupportedError
from foveate.models.family import family_of
from foveate.reduction import Reduction
from foveate.runtime.forward import Forward
from foveate.runtime.hooks import Hook, LayerHooks, Place, SharedHooks, placed
from foveate.runtime.per_prompt import Choose
from foveate.runtime.prompt import has_pictures
from foveate.runtime.refusals import refuse_compiled
from foveate.runtime.run import Run
from foveate.runtime.scope import Scope, refuse_outside, scope_of
from foveate.runtime.size_aware import SizeAware
from foveate.runtime.target import Target
from foveate.runtime.vision import EncoderWatch
from foveate.runtime.watch_attention import Watcher, watch
from foveate.runtime.watch_encoding import Notes, watch_encoding

LOG = logging.getLogger(__name__)


@contextmanager
def reduce(model: Any, reduction: Reduction | Choose, *, everywhere: bool = False) -> Iterator[Run]:
    """Reduce the visual tokens of every forward and `generate` of `model` in this context.

    Args:
        model: a stock transformers vision-language model of a supported family, or PEFT's or DDP's around
            one, or Qwen Omni's with its talker.
        reduction: what to do before and inside the LLM, or a function that chooses it for each prompt.
        everywhere: apply it also in all threads and asyncio tasks that open no reduce() of their own.

    Yields:
        The run, whose `report` tells what the last prefill did.

    Raises:
        UnsupportedError: a model family, cache kind or option that cannot be reduced; or pictures from a
            thread or task without a reduction.
        InputError: not a Reduction, layers out of range for this model, or a reduce() inside another.
        NoEffectError: the reduction was asked for and changed nothing.
    """
    if not (isinstance(reduction, Reduction) or callable(reduction)):
        raise InputError(
            f"reduce() takes a Reduction such as foveate.AIM(keep=0.25), got {reduction!r}"
        )
    model = unwrapped(model)
    refuse_compiled(model)
    target = Target.of(model, family_of(model))
    reducer = Reducer(target, reduction, everywhere=everywhere)
    with reducer.installed():
        yield reducer.run


def unwrapped(model: Any) -> Any:
    """The transformers model inside PEFT's or DDP's wrapper; of one that also speaks, what thinks.

    Raises:
        UnsupportedError: DataParallel, which runs copies of the model.
    """
    if isinstance(model, DataParallel):
        raise UnsupportedError(
            "DataParallel runs copies of the model, which a reduce() does not hold for; works: "
            "DistributedDataParallel, accelerate's device_map, the model itself"
        )
    if isinstance(model, DistributedDataParallel):
        return unwrapped(model.module)
    base = getattr(model, "get_base_model", None)
    if base is not None:
        return unwrapped(base())
    return getattr(model, "thinker", model)


class Reducer:
    """The hooks of one reduction on one model."""

    def __init__(self, target: Target, reduction: Reduction | Choose, *, everywhere: bool) -> None:
        self.target, self.run = target, Run()
        self.scope = Scope(target.model, everywhere=everywhere)
        choose = None if isinstance(reduction, Reduction) else reduction
        first = reduction if isinstance(reduction, Reduction) else Reduction()
        target.refuse(first)
        encoder = EncoderWatch(target.family, target.core, first)
        self.layer_hooks = LayerHooks(
            {"prefill": SharedHooks(self._in_prefill), "step": SharedHooks(self._in_step)}
        )
        self.forward = Forward(target, first, choose, self.run, encoder, Notes(), self.layer_hooks)
        self.size_aware = SizeAware(target, self.forward)
        # threads between a prompt's encoding and the end of its forward
        self.under_way: set[int] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Install the hooks, and remove them on leaving."""
        with ExitStack() as stack:
            stack.enter_context(self.scope.entered())
            chosen = self.forward.reduction if self.forward.choose is None else "for each prompt"
            LOG.info("reduction opened: %s", chosen)
            stack.callback(LOG.info, "reduction closed")
            stack.enter_context(watch_encoding(self.target.core, self._encode))
            for module, action, after in self._hooks():
                hook = action if isinstance(action, Hook) else Hook(self.scope, action)
                stack.enter_context(placed((module, hook, after)))
            # runs last, and also after a forward that failed
            handle = self.target.core.register_forward_hook(
                Hook(self.scope, self._leave), with_kwargs=True, always_call=True
            )
            stack.callback(handle.remove)
            for attention, watcher in self.forward.encoder.watchers:
                watchers = {attention: self._here(watcher)}
                stack.enter_context(watch(attention.config, watchers))
            if weighed := self.size_aware.watchers(self._here):
                stack.enter_context(watch(self.forward.config, weighed))
            with self._scoring():
                pass  # whether it can be watched is said at once
            stack.callback(self.layer_hooks.close)
            stack.callback(self._wait)
            yield
            self.run.settle()

    def _hooks(self) -> Iterator[tuple[nn.Module, Callable[..., Any], bool]]:
        """Every hook but those of the layers: module, what it does, whether it runs after the forward."""
        forward, target = self.forward, self.target
        yield target.model, forward.enter_model, False
        yield target.core, Hook(self.scope, self._enter_core, self._enter_core_outside), False
        yield target.core, lambda args, kwargs, output: forward.leave_core(output), True
        yield from self.size_aware.hooks()  # first, so that they run last
        yield target.llm, forward.enter_llm, False
        yield target.llm, forward.leave_llm, True
        yield from forward.encoder.hooks()

    def _leave_layer(
        self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        return self.forward.leave_layer(index, output)

    @contextmanager
    def _in_prefill(self) -> Iterator[None]:
        """The hooks of the layers during a prefill."""
        forward = self.forward
        places: list[Place] = []
        for index, layer in enumerate(self.target.llm.layers):
            enter = Hook(self.scope, partial(forward.enter_layer, index))
            leave = Hook(self.scope, partial(self._leave_layer, index))
            places += [(layer, enter, False), (layer, leave, True)]
        with placed(*places), self._scoring():
            yield

    def _in_step(self) -> AbstractContextManager[None]:
        """The hooks of the layers where each goes on from other rows."""
        places: list[Place] = [
            (layer, Hook(self.scope, partial(self.forward.mask_layer, index)), False)
            for index, layer in enumerate(self.target.llm.layers)
        ]
        return placed(*places)

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Show the queries and keys of the layers that are scored."""
        forward, layers = self.forward, self.target.llm.layers
        scored = forward.rating if forward.choose is None else self.target.layout.attending
        if not scored:
            yield
            return
        rated = {
            layers[index].self_attn: self._here(partial(forward.score, index)) for index in scored
        }
        with watch(forward.config, rated):
            yield

    def _here(self, action: Watcher) -> Watcher:
        """The action, but only in the reduction's context."""
        return lambda *values: action(*values) if self.scope.holds_here() else None

    def _enter_core(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.under_way.add(threading.get_ident())
        self.forward.enter_core(args, kwargs)

    def _enter_core_outside(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if has_pictures(self.target.seams.core.bind(args, kwargs)):
            self._refuse_outside()

    def _leave(self, *_: Any) -> None:
        if self.forward.leave():
            self.under_way.discard(threading.get_ident())

    def _encode(
        self, modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]
    ) -> Any:
        if self.scope.holds_here():
            self.under_way.add(threading.get_ident())
            return self.forward.see_encoding(modality, encode, arguments)
        self._refuse_outside()
        return encode()

    def _refuse_outside(self) -> None:
        """Refuse pictures from a context without a reduction, if this one would change something."""
        if scope_of(self.scope.model) is None and not self.forward.is_off:
            self.run.refuse("a prompt with pictures came from outside and was refused")
            refuse_outside()

    def _wait(self) -> None:
        """Wait for prefills in other threads: without the hooks they would continue unreduced."""
        others = self.under_way - {threading.get_ident()}
        while any(self._is_inside(sys._current_frames().get(thread)) for thread in others):
            time.sleep(0.001)
            others &= self.under_way

    def _is_inside(self, frame: FrameType | None) -> bool:
        """Whether a thread is inside the model; one that an exception stopped there no longer is."""
        mine = (self.target.model, self.target.core)
        while frame is not None:
            if any(frame.f_locals.get("self") is module for module in mine):
                return True
            frame = frame.f_back
        return False
