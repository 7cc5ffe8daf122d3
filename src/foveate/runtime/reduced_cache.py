"""What a reduced KV cache holds: a length of its own in every layer, and earlier positions.

The state belongs to the cache, not to the model: generations do not see each other's, it is copied
with the cache, and it goes when the cache goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as remember
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache

from foveate.errors import UnsupportedError


@dataclass(frozen=True)
class Sizes:
    """How many patches the cached rows stand for; what came after the prompt stands for itself.

    Attributes:
        log: for each layer (B, K), the logarithm, of the prompt's rows that its keys are of.
        prompt_length: tokens of the unreduced prompt, padding included.
    """

    log: list[Float[Tensor, "B _"]]
    prompt_length: int

    def of_keys(self, layer: int, tokens: int, keys: int) -> Float[Tensor, "B {keys}"]:
        """The logarithms for the last `keys` rows of a layer, after `tokens` of the whole sequence."""
        return F.pad(self.log[layer], (0, tokens - self.prompt_length))[:, -keys:]

    def rearranged(self, pick: Callable[[Tensor], Tensor]) -> "Sizes":
        """Of other samples, or of the same in another order."""
        return Sizes([pick(log) for log in self.log], self.prompt_length)


@dataclass
class CacheState:
    """State of one reduced cache.

    Attributes:
        valid: for each layer (B, K), False at cached padding, None where nothing is padding.
        positions: for each layer (B, K), of all rows that it has computed.
        offset: (B,), by how much positions are lower than in the unreduced prompt.
        is_real: (B, N), False at padding, for all tokens of the unreduced prompt so far.
        sizes: how many patches rows stand for, where attention counts them.
    """

    valid: list[Bool[Tensor, "B _"] | None]
    positions: list[Int[Tensor, "B _"]]
    offset: Int[Tensor, " B"]
    is_real: Bool[Tensor, "B N"]
    sizes: Sizes | None = None

    @property
    def prompt_length(self) -> int:
        """Tokens of the unreduced prompt so far, padding included."""
        return self.is_real.shape[1]

    def extend(self, is_real: Bool[Tensor, "B q"], positions: Int[Tensor, "B q"]) -> None:
        """Account for `q` new tokens, which every layer is about to hold."""
        grown: dict[int, Tensor] = {}  # layers share tensors: extend each once
        for layer, (valid, before) in enumerate(zip(self.valid, self.positions, strict=True)):
            if id(before) not in grown:
                grown[id(before)] = torch.cat([before, positions], dim=1)
            self.positions[layer] = grown[id(before)]
            if valid is None and not is_real.all():
                valid = is_real.new_ones(before.shape)
                self.valid[layer] = torch.cat([valid, is_real], dim=1)
            elif valid is not None:
                if id(valid) not in grown:
                    grown[id(valid)] = torch.cat([valid, is_real], dim=1)
                self.valid[layer] = grown[id(valid)]
        self.is_real = torch.cat([self.is_real, is_real], dim=1)

    def rearrange(self, pick: Callable[[Tensor], Tensor]) -> None:
        """Account for samples that were repeated, chosen or put in another order.

        Args:
            pick: takes a tensor of the old samples, (B, ...), to that of the new ones.
        """
        picked: dict[int, Tensor] = {}  # layers share tensors: pick of each once

        def once(old: Tensor) -> Tensor:
            if id(old) not in picked:
                picked[id(old)] = pick(old)
            return picked[id(old)]

        self.valid = [None if valid is None else once(valid) for valid in self.valid]
        self.positions = [once(positions) for positions in self.positions]
        self.offset, self.is_real = once(self.offset), once(self.is_real)
        self.sizes = self.sizes and self.sizes.rearranged(once)


OUTSIDE = (
    "a reduced cache goes on inside a reduce() only, which tells every layer what it holds; run further "
    "turns inside `with foveate.reduce(model, ...)`, on the same thread, or start with an empty cache"
)


class ReducedCache(Cache):
    """Mixed into the class of a cache whose layers hold fewer rows than the prompt had.

    To `generate` it is as long as the unreduced prompt, which is what it counts positions, masks and new
    tokens by; what a layer really holds is known to that layer.
    """

    state: CacheState

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Take the keys and values of new tokens, which a reduce() has accounted for.

        Raises:
            UnsupportedError: no reduce() has: the model runs outside of one, or on another thread.
        """
        count = super().get_seq_length(layer_idx) + key_states.shape[-2]
        if count != self.state.positions[layer_idx].shape[1]:
            raise UnsupportedError(OUTSIDE)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def get_conv_state(self, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """What a layer without attention remembers, for new tokens that a reduce() has accounted for."""
        self._refuse_unaccounted(layer_idx)
        return super().get_conv_state(layer_idx, *args, **kwargs)

    def has_previous_state(self, layer_idx: int | None = None, *args: Any, **kwargs: Any) -> bool:
        """Whether a layer without attention remembers something; asked as `get_conv_state` is."""
        if layer_idx is not None:
            self._refuse_unaccounted(layer_idx)
        return super().has_previous_state(layer_idx, *args, **kwargs)

    def _refuse_unaccounted(self, layer_idx: int) -> None:
        """Refuse new tokens before a layer remembers them; where one attended before it, that has.

        Raises:
            UnsupportedError: the model runs outside of a reduce(), or on another thread.
        """
        layers: list[Any] = self.layers
        first = next(n for n, layer in enumerate(layers) if holds_rows(layer))
        known = self.state.positions[first].shape[1]
        if layer_idx < first and layers[first].get_seq_length() == known:
            raise UnsupportedError(OUTSIDE)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the unreduced prompt so far."""
        return self.state.prompt_length

    def reorder_cache(self, beam_idx: Any) -> None:
        """Put the samples in another order, as beam search does."""
        super().reorder_cache(beam_idx)
        self.state.rearrange(lambda old: old[beam_idx.to(old.device)])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample."""
        super().batch_repeat_interleave(repeats)
        self.state.rearrange(lambda old: old.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some samples."""
        super().batch_select_indices(indices)
        self.state.rearrange(lambda old: old[indices])

    def reset(self) -> None:
        """Empty the cache, which then is what it was before the reduction."""
        super().reset()
        layers: list[Any] = self.layers
        lengths = [layer.get_seq_length() for layer in layers if holds_rows(layer)]
        if not any(lengths):  # older transformers fill the rows with zeros and keep them
            self.__class__ = type(self).__bases__[1]
            del self.state

    def __reduce__(self) -> Any:
        """Copied and pickled as the cache that it was, with what it knows."""
        return _restored, (type(self).__bases__[1], self.__dict__)

    def crop(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to cut the cache: a length of the prompt is not a length of any layer.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "a reduced cache cannot be cut back, as assisted decoding and prompt lookup need; "
            "works: greedy, sampling, beam search"
        )


def holds_rows(cache_layer: Any) -> bool:
    """Whether a layer of a cache holds rows, and so has a length; others hold a state, or nothing."""
    return hasattr(cache_layer, "get_seq_length")


def mark_reduced(cache: Any, state: CacheState) -> None:
    """Make `cache` know what it holds."""
    if not isinstance(cache, ReducedCache):
        cache.__class__ = _reduced(type(cache))
    cache.state = state


def _restored(kind: type, attributes: dict[str, Any]) -> Any:
    reduced: Any = _reduced(kind)
    cache = reduced.__new__(reduced)
    cache.__dict__.update(attributes)
    return cache


def state_of(cache: Any) -> CacheState | None:
    """State of a reduced cache; None of any other, or none."""
    return cache.state if isinstance(cache, ReducedCache) else None


@remember
def _reduced(kind: type) -> type:
    return type(f"Reduced{kind.__name__}", (ReducedCache, kind), {})
