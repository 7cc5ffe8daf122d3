"""What a reduced KV cache holds: a length of its own in every layer, and earlier positions.

The state belongs to the cache, not to the model: generations do not see each other's, it is copied
with the cache, and it goes when the cache goes.
"""

from dataclasses import dataclass
from functools import cache as remember
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from foveate.errors import UnsupportedError


@dataclass
class Held:
    """State of one reduced cache.

    Attributes:
        valid: for each layer (B, K), False at cached padding, None where nothing is padding.
        place: for each layer (B, K), positions of all rows that it has computed.
        offset: (B,), by how much positions are lower than in the unreduced prompt.
        seen: tokens of the unreduced prompt so far, padding included.
    """

    valid: list[Bool[Tensor, "B _"] | None]
    place: list[Int[Tensor, "B _"]]
    offset: Int[Tensor, " B"]
    seen: int

    def extend(self, fresh: Bool[Tensor, "B q"], place: Int[Tensor, "B q"]) -> None:
        """Account for `q` new tokens, which every layer is about to hold."""
        grown: dict[int, Tensor] = {}  # layers share tensors: extend each once
        for layer, (valid, before) in enumerate(zip(self.valid, self.place, strict=True)):
            if id(before) not in grown:
                grown[id(before)] = torch.cat([before, place], dim=1)
            self.place[layer] = grown[id(before)]
            if valid is None and not fresh.all():
                valid = fresh.new_ones(before.shape)
                self.valid[layer] = torch.cat([valid, fresh], dim=1)
            elif valid is not None:
                if id(valid) not in grown:
                    grown[id(valid)] = torch.cat([valid, fresh], dim=1)
                self.valid[layer] = grown[id(valid)]
        self.seen += fresh.shape[1]


class ReducedCache:
    """Mixed into the class of a cache whose layers hold fewer rows than the prompt had.

    To `generate` it is as long as the unreduced prompt, which is what it counts positions, masks and new
    tokens by; what a layer really holds is known to that layer.
    """

    held: Held

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the unreduced prompt so far."""
        return self.held.seen

    def crop(self, *args: Any, **kwargs: Any) -> None:
        """Not to be done: a length of the prompt is none of a layer.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "a reduced cache cannot be cut back, as assisted decoding and prompt lookup need; "
            "works: greedy, sampling, beam search"
        )


def mark_reduced(cache: Any, held: Held) -> None:
    """Make `cache` know what it holds."""
    if not isinstance(cache, ReducedCache):
        cache.__class__ = _reduced(type(cache))
    cache.held = held


def held_by(cache: Any) -> Held | None:
    """State of a reduced cache; None of any other, or none."""
    return cache.held if isinstance(cache, ReducedCache) else None


@remember
def _reduced(kind: type) -> type:
    return type(f"Reduced{kind.__name__}", (ReducedCache, kind), {})
