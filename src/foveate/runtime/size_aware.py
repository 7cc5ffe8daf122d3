"""Size-aware attention: a token that stands for k patches counts as k, by log k on its key's logits.

Source: ToMe (arXiv 2210.09461), section 3, there in the encoder: a softmax over logits to which log k is
added is one over k equal keys. It goes through the watch on attention that scoring uses: nothing is there
unless it is asked for. Scores of methods inside the LLM do not see it.
"""

import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foveate.errors import UnsupportedError
from foveate.reduction import Reduction
from foveate.runtime.forward import Forward
from foveate.runtime.prefill import Prefill
from foveate.runtime.reduced_cache import Sizes, state_of
from foveate.runtime.rows import Rows
from foveate.runtime.seams import cache_in, versions
from foveate.runtime.target import Target
from foveate.runtime.watch_attention import BY_FUNCTION, PREFIX, Watcher


def is_size_aware(reduction: Reduction) -> bool:
    """Whether tokens are to count as the patches that they stand for."""
    before = reduction.before
    return before is not None and not before.is_off and getattr(before, "size_aware", False)


def log_sizes(target: Int[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """The logarithm of how many patches each row of a prompt stands for; text stands for itself.

    Args:
        target: for each visual row the flat row (over B * N) that its patch is part of, -1 for none.
    """
    counts = torch.bincount(target[target >= 0], minlength=target.numel())
    return counts.clamp(min=1).log().view(target.shape)


class SizeAware(threading.local):
    """Hooks and watchers of the forward that is under way, beside those of `Forward`, which run first."""

    def __init__(self, target: Target, forward: Forward) -> None:
        self.target, self.forward = target, forward
        self.clear()

    def clear(self) -> None:
        """Forget the forward."""
        self.prefill: Prefill | None = None  # of tokens that count as many
        self.log: Tensor | None = None  # of the prompt's rows
        self.sizes: Sizes | None = None  # of what a cache holds that this forward goes on from
        self.earlier: Sizes | None = None  # of what it held before a prompt
        self.tokens = 0  # of the prompt so far
        self.weighed: set[int] = set()  # layers
        self.made: dict[Any, Tensor] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether some prompt may want it."""
        return self.forward.choose is not None or is_size_aware(self.forward.reduction)

    def hooks(self) -> Iterator[tuple[nn.Module, Callable[..., Any], bool]]:
        """At both ends of the LLM."""
        if self.is_wanted:
            yield self.target.llm, self.enter_llm, False
            yield self.target.llm, self.leave_llm, True

    def watchers(self, here: Callable[[Watcher], Watcher]) -> dict[nn.Module, Watcher]:
        """Watchers of the layers that attend.

        Args:
            here: makes of a watcher one that is asked in the reduction's context alone.
        """
        layers = self.target.llm.layers
        wanted = self.target.layout.attending if self.is_wanted else ()
        return {layers[index].self_attn: here(partial(self.weigh, index)) for index in wanted}

    def enter_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See whether tokens of this forward, or of the cache that it goes on from, count as many."""
        if self.forward.encodes:
            return
        self.clear()
        prefill = self.forward.prefill
        state = state_of(cache_in(self.target.seams.llm.bind(args, kwargs)))
        if prefill is not None:
            self.earlier = prefill.history and prefill.history.state.sizes
            is_aware = is_size_aware(self.forward.reduction)
            if is_aware or self.earlier is not None:
                counted = log_sizes(prefill.target)
                self.prefill, self.log = prefill, counted if is_aware else torch.zeros_like(counted)
        elif state is not None:
            self.sizes, self.tokens = state.sizes, state.prompt_length
        if self.prefill is not None or self.sizes is not None:
            refuse_uncounted(self.forward.config)

    def weigh(
        self, index: int, query: Tensor, key: Tensor, scaling: float | None
    ) -> Float[Tensor, "B 1 _ K"] | None:
        """What is added to the logits of a layer."""
        if self.forward.encodes:
            return None
        if self.prefill is not None:
            self.weighed.add(index)
            return self._of_prompt(self.prefill, index, query)
        return None if self.sizes is None else self._of_cache(self.sizes, index, query, key)

    def _of_prompt(self, prefill: Prefill, index: int, query: Tensor) -> Tensor:
        layout, count = self.target.layout, query.shape[2]
        source = layout.sources[index]
        rows = prefill.rows_by_layer[source]
        inputs = prefill.mask_inputs
        # the mask of such a layer is always handed over, and lets rows see later ones
        both_ways = inputs.block_ids is not None and layout.kinds[index] in inputs.block_kinds
        held = 0 if prefill.history is None else prefill.history.held[source]
        alike = id(rows), held, self._earlier_of(source), count, both_ways
        if alike not in self.made:
            log = self._of_rows(rows, prefill, source)[:, None, None]
            self.made[alike] = log if both_ways else _causal(log, count)
        return self.made[alike].to(query)

    def _of_cache(self, sizes: Sizes, index: int, query: Tensor, key: Tensor) -> Tensor:
        alike = id(sizes.log[index]), key.shape[2]
        if alike not in self.made:
            self.made[alike] = sizes.of_keys(index, self.tokens, key.shape[2])[:, None, None]
        return _causal(self.made[alike], query.shape[2]).to(query)

    def _of_rows(self, rows: Rows, prefill: Prefill, source: int) -> Float[Tensor, "B K"]:
        """The logarithms of a layer's rows, those that it held before the prompt first."""
        assert self.log is not None
        own, history = self.log.gather(1, rows.origin), prefill.history
        if history is None:
            return own
        held = own.new_zeros(len(own), history.held[source])
        if self.earlier is not None:
            held = self.earlier.of_keys(source, history.past, history.held[source])
        return torch.cat([held, own], dim=1)

    def _earlier_of(self, layer: int) -> int:
        """What tells apart layers that hold other rows of before, as many as they may be."""
        return 0 if self.earlier is None else id(self.earlier.log[layer])

    def leave_llm(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Check that all layers were weighed, and leave the sizes with the cache, now reduced."""
        prefill = self.prefill
        if prefill is None or self.forward.encodes:
            return
        if missing := set(self.target.layout.attending) - self.weighed:
            raise UnsupportedError(
                f"the attention of layers {sorted(missing)} does not go through transformers' "
                f"AttentionInterface, so sizes cannot be added to it; {versions()}"
            )
        state = state_of(prefill.cache)
        if state is not None:
            log: dict[Any, Tensor] = {}  # layers of the same rows share
            of_layers = []
            for source in self.target.layout.sources:
                rows = prefill.rows_by_layer[source]
                held = 0 if prefill.history is None else prefill.history.held[source]
                alike = id(rows), held, self._earlier_of(source)
                if alike not in log:
                    log[alike] = self._of_rows(rows, prefill, source)
                of_layers.append(log[alike])
            state.sizes = Sizes(of_layers, state.prompt_length)
        self.clear()


def _causal(log: Float[Tensor, "B 1 1 K"], count: int) -> Float[Tensor, "B 1 _ K"]:
    """With the causal mask of the last `count` rows: SDPA is handed none where it is the whole mask."""
    if count == 1:
        return log
    keys = log.shape[-1]
    later = torch.ones(count, keys, dtype=torch.bool, device=log.device).triu(keys - count + 1)
    return log.masked_fill(later, -math.inf)


def refuse_uncounted(config: Any) -> None:
    """Refuse an attention implementation to whose logits nothing can be added.

    Raises:
        UnsupportedError: it is one.
    """
    kind = config._attn_implementation.removeprefix(PREFIX)
    if kind not in BY_FUNCTION:
        raise UnsupportedError(
            f"attention {kind!r} cannot count a token as the patches that it stands for; works: "
            f"{', '.join(sorted(BY_FUNCTION))}, or size_aware=False"
        )
