"""What a reduced KV cache holds: a length of its own in every layer, and earlier positions.

The state belongs to the cache, not to the model: generations do not see each other's, it is copied
with the cache, and it goes when the cache goes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as remember
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache

from foveate.errors import UnsupportedError
from foveate.runtime.columns import Columns
from foveate.runtime.mask_check import MaskCheck
from foveate.runtime.shown import Shown, of_last


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
        picked = {id(log): pick(log) for log in self.log}  # layers share tensors
        return Sizes([picked[id(log)] for log in self.log], self.prompt_length)

    def left(self, keep: Sequence[Tensor | None], held: Sequence[int], tokens: int) -> "Sizes":
        """Of the rows that are left, after `tokens` of the whole sequence; as `CacheState.drop`."""
        made: dict[tuple[int, int, int], Tensor] = {}
        log = []
        for own, kept, last in zip(self.log, keep, held, strict=True):
            alike = id(own), id(kept), last
            if alike not in made:
                every = F.pad(own, (0, tokens - self.prompt_length))
                made[alike] = every if kept is None else of_last(every, last, kept)
            log.append(made[alike])
        return Sizes(log, tokens)


class CacheState:
    """State of one reduced cache.

    Attributes:
        lengths: rows that each layer has computed, padding among them.
        valid: for each layer (B, K), False at cached padding, None where nothing is padding.
        positions: for each layer that needs them (B, K), of all rows that it has computed.
        offset: (B,), by how much positions are lower than in the unreduced prompt.
        is_real: (B, N), False at padding, for all tokens of the unreduced prompt so far.
        takes_padding: whether new tokens may be padding; layers without attention cannot be told.
        sizes: how many patches rows stand for, where attention counts them.
        shown: which rows are visual tokens; None where nobody has said.

    Args:
        valid: see above.
        lengths: see above.
        positions: see above, None for other layers.
        offset: see above.
        is_real: see above.
        takes_padding: see above.
    """

    def __init__(
        self,
        valid: list[Bool[Tensor, "B _"] | None],
        lengths: list[int],
        positions: list[Int[Tensor, "B _"] | None],
        offset: Int[Tensor, " B"],
        is_real: Bool[Tensor, "B N"],
        *,
        takes_padding: bool,
    ) -> None:
        made: dict[int, Columns] = {}  # layers share tensors
        for part in (*valid, *positions):
            if part is not None:
                made.setdefault(id(part), Columns(part, fill=int(part.dtype == torch.bool)))
        self.lengths, self.offset, self.takes_padding = lengths, offset, takes_padding
        self.valid = [None if part is None else made[id(part)] for part in valid]
        self.positions = [None if part is None else made[id(part)] for part in positions]
        self.is_real = Columns(is_real, fill=1)
        self.sizes: Sizes | None = None
        self.shown: Shown | None = None
        self._open: MaskCheck | None = None  # of the last tokens, not answered yet

    @classmethod
    def of_plain(
        cls, is_real: Bool[Tensor, "B N"], layers: int, *, takes_padding: bool
    ) -> "CacheState":
        """What a cache holds that nothing was taken out of: all tokens of the prompt, in every layer.

        Args:
            is_real: (B, N), False at padding.
            layers: of the LLM.
            takes_padding: as above.
        """
        positions = is_real.long().cumsum(1) - 1
        count = is_real.shape[1]
        valid = None if bool(is_real.all()) else is_real
        offset = torch.zeros(len(is_real), dtype=torch.long, device=is_real.device)
        return cls(
            [valid] * layers, [count] * layers, [positions.clamp(min=0)] * layers, offset, is_real,
            takes_padding=takes_padding,
        )  # fmt: skip

    @property
    def prompt_length(self) -> int:
        """Tokens of the unreduced prompt so far, padding included."""
        return self.is_real.count

    def _columns(self) -> list[Columns]:
        """All that grows, each once."""
        layers = (part for part in (*self.valid, *self.positions) if part is not None)
        return list({id(part): part for part in (*layers, self.is_real)}.values())

    def extend(
        self, positions: Int[Tensor, "B q"], mask: Bool[Tensor, "B N"] | None = None
    ) -> MaskCheck | None:
        """Account for new tokens, which every layer is about to hold.

        Args:
            positions: of the new tokens.
            mask: attention mask of all tokens so far and these; None if none is padding.

        Returns:
            What will tell whether the mask is right, once the device has compared it.

        Raises:
            UnsupportedError: a mask, or that of the tokens before, is other than that of what is cached,
                or padding that cannot be told.
        """
        self.settle()
        check = None if mask is None else MaskCheck(mask, self.is_real.value)
        count = positions.shape[1]
        is_late = check is not None and check.is_late and count == 1
        hides = None if check is None or is_late else check.hidden(is_taken=self.takes_padding)
        places = {id(part) for part in self.positions}
        for part in self._columns():
            part.grow(count, positions if id(part) in places else None)
        self.lengths = [length + count for length in self.lengths]
        if hides is not None:
            self._hide(hides)
        self._open = check if is_late else None
        return self._open

    def settle(self) -> None:
        """Wait for what a check of the last tokens says.

        Raises:
            UnsupportedError: as of `extend`.
        """
        check, self._open = self._open, None
        hides = None if check is None else check.hidden(is_taken=self.takes_padding)
        if hides is not None:
            self._hide(hides)

    def _hide(self, is_real: Bool[Tensor, "B q"]) -> None:
        """Some of the last tokens are padding."""
        made: dict[int, Columns] = {}  # layers of one length share them
        for layer, length in enumerate(self.lengths):
            if self.valid[layer] is None:
                every = is_real.new_ones(len(is_real), length)
                self.valid[layer] = made.setdefault(length, Columns(every, fill=1))
        for part in {id(part): part for part in (*self.valid, self.is_real)}.values():
            assert part is not None
            part.set_last(is_real)

    def rearrange(self, pick: Callable[[Tensor], Tensor]) -> None:
        """Account for samples that were repeated, chosen or put in another order.

        Args:
            pick: takes a tensor of the old samples, (B, ...), to that of the new ones.
        """
        self.settle()
        picked = {id(part): part.rearranged(pick) for part in self._columns()}
        self.valid = [None if part is None else picked[id(part)] for part in self.valid]
        self.positions = [None if part is None else picked[id(part)] for part in self.positions]
        self.offset, self.is_real = pick(self.offset), picked[id(self.is_real)]
        self.sizes = self.sizes and self.sizes.rearranged(pick)
        self.shown = self.shown and self.shown.rearranged(pick)

    def drop(self, keep: Sequence[Int[Tensor, " _"] | None], held: Sequence[int]) -> None:
        """Account for rows that were dropped from the cache, the same of every sample.

        What is left keeps its positions, and new tokens go on behind them as before.

        Args:
            keep: for each layer the rows left of those that it held; None where all are.
            held: rows that each layer held: all that it has computed, or the last.
        """
        self.settle()
        made: dict[tuple[int, int, int], Columns] = {}  # layers of the same rows share them

        def left(part: Columns | None, kept: Tensor | None, last: int) -> Columns | None:
            if part is None or kept is None:
                return part
            alike = id(part), id(kept), last
            if alike not in made:
                made[alike] = part.rearranged(lambda old: of_last(old, last, kept))
            return made[alike]

        self.sizes = self.sizes and self.sizes.left(keep, held, self.prompt_length)
        self.shown = self.shown and self.shown.left(keep, held, self.lengths)
        self.valid = list(map(left, self.valid, keep, held))
        self.positions = list(map(left, self.positions, keep, held))
        self.lengths = [
            length if kept is None else len(kept)
            for length, kept in zip(self.lengths, keep, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Copied and pickled with nothing open."""
        self.settle()
        return self.__dict__


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
        layer: Any = self.layers[layer_idx]
        count = layer.get_seq_length() + key_states.shape[-2]
        if count != self.state.lengths[layer_idx]:
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
        known = self.state.lengths[first]
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
