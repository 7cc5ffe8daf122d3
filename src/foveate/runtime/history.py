"""What a cache holds before a prompt with pictures: earlier turns, a system prompt, earlier pictures."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foveate.cost.layers import SLIDING
from foveate.errors import UnsupportedError
from foveate.models.layout import Layout
from foveate.runtime.mask_check import MaskCheck
from foveate.runtime.masks import MaskInputs, layer_mask
from foveate.runtime.reduced_cache import CacheState, state_of
from foveate.runtime.rows import Rows


class History:
    """The rows that every layer holds already, which those of a prompt see and leave as they are.

    Attributes:
        state: of the cache before the prompt.
        held: rows that each layer held then.
        past: tokens of the unreduced prompts so far, padding included.

    Args:
        cache: the cache, reduced before or not.
        layout: of the LLM's layers.
        padding: (B, P + N), 0 at padding, of all that is cached and the prompt; None for none.
        like: (B, N, D), the prompt.

    Raises:
        UnsupportedError: a mask of other tokens than are cached.
    """

    def __init__(
        self, cache: Any, layout: Layout, padding: Tensor | None, like: Float[Tensor, "B N D"]
    ) -> None:
        self.cache, self.layout, self._made = cache, layout, {}
        count, state = int(cache.get_seq_length()), state_of(cache)
        is_real = like.new_ones(len(like), count, dtype=torch.bool)
        if padding is not None:
            is_real = padding[:, :count].bool().to(like.device)
        if state is None:
            state = CacheState.of_plain(
                is_real, len(layout.kinds), takes_padding=not layout.has_recurrent
            )
        elif padding is not None:
            MaskCheck(padding.bool().to(like.device), state.is_real.value).refuse_changed()
        self.state, self.held, self.past = state, list(state.lengths), state.prompt_length

    @classmethod
    def behind(
        cls,
        cache: Any,
        layout: Layout,
        padding: Tensor | None,
        like: Float[Tensor, "B N D"],
        *,
        is_off: bool,
    ) -> "History | None":
        """What a prompt stands behind; None if that is nothing, or stock and to be left so (`is_off`)."""
        if cache is None or not cache.get_seq_length() or (is_off and state_of(cache) is None):
            return None
        return cls(cache, layout, padding, like)

    def expect(self, layer: int, count: int) -> None:
        """A layer is about to hold so many rows more."""
        self.state.lengths[layer] = self.held[layer] + count

    def refuse_padding(self, rows: Rows) -> None:
        """Refuse padding among new rows where a layer would remember it.

        Raises:
            UnsupportedError: there is some, and it would.
        """
        if self.layout.has_recurrent and rows.mask is not None:
            raise UnsupportedError(
                "turns of unequal length behind a cached history cannot be told to layers without "
                "attention, which take the sequence as it comes; go on one conversation at a time"
            )

    def valid(self, layer: int, rows: Rows) -> Bool[Tensor, "B K"] | None:
        """Which rows are real of those that a layer holds and is about to hold; None for all."""
        before = self.state.valid[layer]
        if before is None and rows.mask is None:
            return None
        old = rows.valid.new_ones(len(rows.valid), self.held[layer])
        return torch.cat([old if before is None else before.value, rows.valid], dim=1)

    def real_among_last(self, count: int, layer: int | None = None) -> list[int]:
        """How many of the last so many rows that a layer held are real, of each sample.

        Args:
            count: of the rows, at most all.
            layer: which; None for one that nothing was taken out of.
        """
        part = self.state.is_real if layer is None else self.state.valid[layer]
        if part is None:
            return [count] * len(self.state.offset)
        return part.value[:, part.count - count :].sum(1).tolist()

    def mask(
        self,
        config: Any,
        states: Float[Tensor, "B M D"],
        layer: int,
        rows: Rows,
        prompt: MaskInputs,
    ) -> Any:
        """The attention mask of a layer.

        Args:
            config: the LLM's.
            states: what the layer is about to compute.
            layer: its index.
            rows: the rows that these are.
            prompt: positions and blocks of all rows of the prompt.
        """
        kind, held, before = self.layout.kinds[layer], self.held[layer], self.state.valid[layer]
        positions = self.state.positions[layer]
        alike = kind, held, id(before), id(positions), id(rows)
        if alike not in self._made:
            own = prompt.of_rows(rows.origin)
            old = own.positions.new_zeros(len(own.positions), held)
            places = old if kind != SLIDING or positions is None else positions.value
            block_ids = own.block_ids
            if block_ids is not None:
                block_ids = torch.cat([torch.full_like(old, -1), block_ids], dim=1)
            inputs = MaskInputs(
                torch.cat([places, own.positions], dim=1), block_ids, own.block_kinds
            )
            valid = self.valid(layer, rows)
            self._made[alike] = layer_mask(
                config, states, valid, kind, inputs, self.cache.layers[layer]
            )
        return self._made[alike]

    def joined(self, own: CacheState) -> CacheState:
        """The cache's state with a prompt's rows behind those that it held."""
        made: dict[Any, Any] = {}  # layers of the same rows share tensors
        valid, positions = [], []
        for layer, count in enumerate(own.lengths):
            held, is_real = self.held[layer], own.is_real.value
            parts = self.state.valid[layer], own.valid[layer]
            alike = held, count, *map(id, parts)
            if alike not in made:
                every = (is_real.new_ones(len(is_real), length) for length in (held, count))
                known = [
                    one if part is None else part.value
                    for part, one in zip(parts, every, strict=True)
                ]
                made[alike] = None if parts == (None, None) else torch.cat(known, dim=1)
            valid.append(made[alike])
            old, new = self.state.positions[layer], own.positions[layer]
            joined = (
                None if old is None or new is None else torch.cat([old.value, new.value], dim=1)
            )
            positions.append(joined)
        state = CacheState(
            valid,
            [held + count for held, count in zip(self.held, own.lengths, strict=True)],
            positions,
            self.state.offset + own.offset,
            torch.cat([self.state.is_real.value, own.is_real.value], dim=1),
            takes_padding=own.takes_padding,
        )
        if own.shown is not None:
            state.shown = own.shown.behind(self.state.shown, self.held)
        return state
