"""What the layers of one LLM do with the sequence, and so where tokens can be dropped inside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foveate.cost.layers import ATTENTION, RECURRENT, kv_sources, layer_kinds, rating_layer
from foveate.prune.schedule import Schedule


@dataclass(frozen=True)
class Layout:
    """The layers of one LLM.

    A recurrent layer has no attention: dropped tokens are to it as if they had never been there.

    Attributes:
        kinds: what each does with the sequence, in transformers' words.
        sources: for each the layer whose keys it reads: itself, or an earlier one.
    """

    kinds: tuple[str, ...]
    sources: tuple[int, ...]

    @classmethod
    def of(cls, config: Any) -> "Layout":
        """Of an LLM, by its config.

        Raises:
            UnsupportedError: layers that share keys which no layer makes.
        """
        kinds = layer_kinds(config)
        return cls(kinds, kv_sources(config, kinds))

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return len(self.kinds)

    def is_recurrent(self, layer: int) -> bool:
        """Whether a layer has no attention."""
        return self.kinds[layer] in RECURRENT

    @property
    def has_recurrent(self) -> bool:
        """Whether some layer has no attention."""
        return not set(self.kinds).isdisjoint(RECURRENT)

    def reads_own(self, layer: int) -> bool:
        """Whether a layer reads keys of its own."""
        return self.sources[layer] == layer

    @cached_property
    def first_shared(self) -> int:
        """The first layer whose keys others read too; as many as there are layers where none is."""
        shared = [source for layer, source in enumerate(self.sources) if source != layer]
        return min(shared, default=len(self.kinds))

    @property
    def shares_keys(self) -> bool:
        """Whether some layer reads the keys of an earlier one."""
        return self.first_shared < len(self.kinds)

    @cached_property
    def attending(self) -> tuple[int, ...]:
        """The layers that attend."""
        return tuple(n for n, kind in enumerate(self.kinds) if kind in ATTENTION)

    def rating_layers(self, schedule: Schedule) -> set[int]:
        """The layers whose attention rates the tokens that are dropped by a schedule.

        Scores hold until another layer attends.
        """
        rating = {rating_layer(self.kinds, layer) for layer, share in schedule.items() if share}
        return {layer for layer in rating if layer is not None}

    def refusal(self, schedule: Schedule) -> str:
        """Why these layers cannot keep a schedule; "" where they can.

        Tokens cannot be rated before a layer has attended, nor dropped where later layers read keys of
        before.
        """
        first, *others = self.attending or (len(self.kinds),)
        unrated = [n for n, share in schedule.items() if share and n < first]
        if unrated:
            then = f" (then {', '.join(map(str, others[:3]))})" if others else ""
            return (
                f"tokens cannot be rated after layer {unrated[0]}: the first layer of this LLM that "
                f"attends is {first}{then}; works: pruning after layer {first} or later, such as "
                f"AIM(prune=({first}, {first + 4})) or FastV(after=({first + 1},))"
            )
        late = [layer for layer in schedule if layer >= self.first_shared]
        if late:
            first = self.first_shared
            return (
                f"nothing can be dropped after layer {late[0]}: the last layers of this LLM read the "
                f"keys of layer {first} and later ones; works: pruning that is over by layer {first}, "
                f"such as AIM(prune=({first // 2}, {first})), and merging before the LLM"
            )
        return ""

    def faults(self, llm: Any) -> Iterator[str]:
        """What the LLM's modules have that its config does not say, or that no reduction knows."""
        name = type(llm).__name__
        if odd := sorted(set(self.kinds) - {*ATTENTION, *RECURRENT}):
            known = ", ".join((*ATTENTION, *RECURRENT))
            yield f"{name} has layers of kind {', '.join(odd)} (known: {known})"
        elif len(self.kinds) != len(llm.layers):
            yield f"{name} has {len(llm.layers)} layers and names the kinds of {len(self.kinds)}"
        elif not self.attending:
            yield f"no layer of {name} attends"
        else:
            for layer, kind in zip(llm.layers, self.kinds, strict=True):
                if hasattr(layer, "self_attn") == (kind in RECURRENT):
                    has = "a" if kind in RECURRENT else "no"
                    yield f"{type(layer).__name__}, a layer of kind {kind}, has {has} self_attn"
