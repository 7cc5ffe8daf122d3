"""What a reduced KV cache holds: a length of its own in every layer, and earlier positions.

The state belongs to the cache, not to the model: generations do not see each other's, and it goes
when the cache goes.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import Cache
from transformers.masking_utils import create_causal_mask


@dataclass
class Held:
    """State of one reduced cache.

    Attributes:
        valid: for each layer (B, K), False at cached padding, None where nothing is padding.
        offset: (B,), by how much positions are lower than in the unreduced prompt.
        seen: tokens of the unreduced prompt so far, padding included.
    """

    valid: list[Bool[Tensor, "B _"] | None]
    offset: Int[Tensor, " B"]
    seen: int

    def extend(self, cache: Any, fresh: Bool[Tensor, "B q"]) -> None:
        """Account for `q` new tokens, which every layer is about to hold."""
        grown: dict[int, Tensor | None] = {}  # layers share tensors: extend each once
        for layer, valid in enumerate(self.valid):
            if valid is None and not fresh.all():
                held = cache.layers[layer].get_seq_length()
                valid = fresh.new_ones(len(fresh), held)
                self.valid[layer] = torch.cat([valid, fresh], dim=1)
            elif valid is not None:
                if id(valid) not in grown:
                    grown[id(valid)] = torch.cat([valid, fresh], dim=1)
                self.valid[layer] = grown[id(valid)]
        self.seen += fresh.shape[1]


reduced_caches: WeakKeyDictionary[Cache, Held] = WeakKeyDictionary()


def causal_mask(
    config: Any, states: Tensor, valid: Tensor | None, cache: Cache | None, layer: int
) -> Any:
    """The attention mask of one layer, in the form its attention implementation takes.

    Args:
        config: the LLM's config.
        states: (B, q, D), what the layer is about to compute.
        valid: (B, K), padding among the keys, cached ones included; None for none.
        cache: what the layer's cached keys are in; None when it is still empty.
        layer: its index.
    """
    held = None if cache is None else Cache(layers=[cache.layers[layer]])
    return create_causal_mask(
        config=config, inputs_embeds=states, attention_mask=valid, past_key_values=held
    )
