"""What an LLM remembers of a conversation: one cache that every turn goes on from, within a budget."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from foveate.errors import UnsupportedError
from foveate.models.family import Family, family_of
from foveate.models.layout import Layout
from foveate.runtime.forget import forget_oldest, rows_held, shown_rows
from foveate.runtime.prompt import has_pictures
from foveate.runtime.reduced_cache import CacheState, mark_reduced, state_of
from foveate.runtime.refusals import why_no_history
from foveate.runtime.saved_cache import cache_to_dict, fill_cache
from foveate.runtime.seams import Signature, on_cache
from foveate.runtime.shown import Shown


class Memory:
    """The cache of one conversation, and what is needed to go on from it.

    Attributes:
        cache: keys and values of all turns so far.
        pending: the last token of an answer that was cut off, which the cache does not hold yet.

    Args:
        model: the whole model.
        most_visual_tokens: visual rows that a layer may hold after a prompt; None for any.

    Raises:
        UnsupportedError: a picture of a later turn could not be told what is cached.
    """

    def __init__(self, model: Any, most_visual_tokens: int | None = None) -> None:
        self.model, self.family, self.most = model, family_of(model), most_visual_tokens
        self.layout = Layout.of(self.family.language_model(model.model).config)
        refuse_forgetful(model, self.family, self.layout)
        self.cache: Any = DynamicCache(config=model.config.get_text_config())
        self.pending: list[int] = []
        self._placeholders = list(self.family.placeholders(model.config).values())
        self._next = 0  # position on the grid behind all that is cached

    @torch.no_grad()
    def answer(self, inputs: dict[str, Tensor], max_new_tokens: int) -> list[int]:
        """The tokens of a greedy answer to what a turn brings; to be called inside a reduce().

        Args:
            inputs: tensors of the turn's own tokens, of one sample, and its pictures.
            max_new_tokens: longest answer.

        Returns:
            Its tokens, without the one that ended it; none of them stands for a picture.
        """
        logits = self._read(self._behind_pending(inputs))
        self._account(inputs["input_ids"])
        if self.most is not None:
            forget_oldest(self.cache, self.most)
        ends, tokens = self._ends(), []
        while (token := int(logits.argmax())) not in ends:
            tokens.append(token)
            if len(tokens) == max_new_tokens:
                self.pending = tokens[-1:]
                break
            logits = self._read({"input_ids": inputs["input_ids"].new_tensor([[token]])})
        return tokens

    def _ends(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]

    def _behind_pending(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A turn's tensors with the token in front that the cache does not hold yet."""
        ids = inputs["input_ids"]
        first, self.pending = ids.new_tensor([self.pending]), []
        longer = dict(inputs)
        for name, value in inputs.items():
            if value.shape == ids.shape:
                of_first = first if name == "input_ids" else torch.zeros_like(first)
                longer[name] = torch.cat([of_first.to(value.dtype), value], dim=1)
        return longer

    def _read(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits (V,) behind new tokens, which the cache then holds."""
        ids = inputs["input_ids"]
        seen = ids.new_ones(1, int(self.cache.get_seq_length()) + ids.shape[1])
        more: dict[str, Any] = on_cache(self.model, self.cache) | self._places(inputs)
        if "logits_to_keep" in Signature.of(type(self.model)).names:
            more["logits_to_keep"] = 1
        output = self.model(**{**inputs, "attention_mask": seen}, **more, use_cache=True)
        logits = output.logits[0, -1]
        return logits.index_fill(0, ids.new_tensor(self._placeholders), -torch.inf)

    def _places(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Positions on the grid (3, 1, N), where there is one: a model has none behind a cache."""
        if not self.family.grid_positions:
            return {}
        ids = inputs["input_ids"]
        if not has_pictures(inputs):
            places = torch.arange(ids.shape[1], device=ids.device).expand(3, 1, -1) + self._next
            self._next += ids.shape[1]
            return {"position_ids": places}
        core = self.model.model
        given = {**inputs, "attention_mask": torch.ones_like(ids)}
        taken = inspect.signature(core.get_rope_index).parameters
        own, _ = core.get_rope_index(**{name: given[name] for name in taken if name in given})
        places = own[-3:] + self._next
        self._next = int(places.max()) + 1
        return {"position_ids": places}

    def _account(self, ids: Tensor) -> None:
        """Make the cache know what it holds of the first prompt, where nothing was taken out of it."""
        if state_of(self.cache) is not None:
            return
        depth, is_real = self.layout.depth, torch.ones_like(ids, dtype=torch.bool)
        state = CacheState.of_plain(is_real, depth, takes_padding=not self.layout.has_recurrent)
        visual = torch.isin(ids, ids.new_tensor(self._placeholders))
        state.shown = Shown.of_prompt([visual] * depth)
        mark_reduced(self.cache, state)

    def visual_tokens(self) -> list[int]:
        """Visual rows that each layer holds, of the layers that hold rows."""
        return [int((rows >= 0).sum()) for rows in shown_rows(self.cache) if rows is not None]

    def kv_bytes(self) -> int:
        """Bytes of the keys and values that all layers hold."""
        layers = [layer for layer in self.cache.layers if rows_held(layer)]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain tensors, numbers and dictionaries."""
        return {"cache": cache_to_dict(self.cache), "pending": self.pending, "next": self._next}

    def fill(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` of another one said; this one is empty."""
        fill_cache(self.cache, saved["cache"], self.model.device)
        self.pending, self._next = saved["pending"], saved["next"]


def refuse_forgetful(model: Any, family: Family, layout: Layout) -> None:
    """Refuse a model to which a later turn's picture cannot be shown.

    Raises:
        UnsupportedError: layers read each other's keys, or a picture's tokens see each other both ways.
    """
    both_ways = type(family).blocks is not Family.blocks and any(
        family.both_ways_in(model.config, kind) for kind in layout.kinds
    )
    if why := why_no_history(layout, both_ways=both_ways):
        raise UnsupportedError(
            f"a conversation with {family.model_type} cannot go on behind a cached history: {why}; give "
            "the whole conversation at once, to model.generate inside foveate.reduce"
        )
