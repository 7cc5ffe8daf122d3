"""A vision tower whose layers compute other rows than they are handed, by hooks on its layers.

Rows are taken out at the entrance of one layer. Behind each layer every patch gets back what its row has
become, whoever reads it; the next layer goes on with the rows. Layers behind the last one that is read
are handed one row, and what they put out is what came in: nobody asks for it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foveate.errors import UnsupportedError
from foveate.models.towers import attention_of, chosen_state, tower_layers
from foveate.report import divide
from foveate.runtime.seams import Signature
from foveate.runtime.watch_attention import Rearranged

Hook = Callable[..., Any]


@runtime_checkable
class Taken(Protocol):
    """The rows that one call of a tower computes, in A sequences; A and B are 1 where all are packed."""

    @property
    def states(self) -> Float[Tensor, "A M D"]:
        """Of the rows, where they are taken out."""
        ...

    def spread(self, rows: Float[Tensor, "A M D"]) -> Float[Tensor, "B P D"]:
        """What each of the P rows has become; unchanged if these are others."""
        ...

    def cut(self, name: str, value: Any) -> Any:
        """An argument of a layer, for these rows."""
        ...

    def pairs(self, call: Mapping[str, Any], lengths: tuple[int, ...]) -> int:
        """Queries times keys of a layer.

        Args:
            call: its arguments, cut.
            lengths: of its sequences, with all rows.
        """
        ...


class EncoderRows(threading.local):
    """The tower of one model under a method in the encoder; its state belongs to each thread.

    Attributes:
        first: the layer at whose entrance rows are taken out.
        spent: FLOPs of the layers, and of choosing their rows, in this encoding; and of the same layers
            without.
        cost: FLOPs of a layer, of so many rows and queries x keys.

    Args:
        core: the model without its head.
        first: as above.
        keys: whether the keys behind the state that is read are asked for, too.

    Raises:
        UnsupportedError: a tower that is not known, or whose embeddings are read.
    """

    def __init__(self, core: Any, first: int, *, keys: bool = False) -> None:
        self.core, self.first, self.cost = core, first, layer_flops
        self.layers = tower_layers(core)
        depth = len(self.layers)
        self.read = layers_read(chosen_state(core), depth)
        self.end_of_rows = min(self.read + keys, depth)
        self.begin("image", {}, None)
        self.end()

    def begin(
        self, modality: str, arguments: Mapping[str, Any], packed: Sequence[int] | None
    ) -> None:
        """An encoding starts.

        Args:
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
            packed: patches of each picture, where all are one sequence.
        """
        self.is_on, self.modality, self.arguments, self.packed = True, modality, arguments, packed
        self.taken: Taken | None = None
        self.rows: Tensor | None = None  # those that the next layer goes on with
        self.lengths: tuple[int, ...] = ()  # of the sequences of the layer that runs
        self._known: dict[int, tuple[Tensor, tuple[int, ...]]] = {}  # by the ends of sequences
        self.passing: Tensor | None = None  # what goes by a layer that nobody reads
        self.spent = (0, 0)

    def end(self) -> None:
        """The encoding is over."""
        self.is_on, self.rows, self.passing, self.arguments = False, None, None, {}
        self._known = {}

    def hooks(self) -> Iterator[tuple[nn.Module, Hook, bool]]:
        """For each layer from the first on: (module, hook, whether it runs after the forward)."""
        for number, layer in enumerate(self.layers):
            if self.first <= number < self.end_of_rows:
                yield layer, partial(self._enter, number), False
                yield layer, self._leave, True
            elif number >= self.end_of_rows:
                yield layer, partial(self._enter_unread, number), False
                yield layer, self._leave_unread, True

    def attentions(self) -> list[Any]:
        """The attention modules of the layers that compute other rows."""
        return [attention_of(layer) for layer in self.layers[self.first : self.end_of_rows]]

    def see_attention(
        self, query: Tensor, key: Tensor, scaling: float | None
    ) -> Tensor | Rearranged | None:
        """What is changed in a layer's attention: as of a `foveate.runtime.watch_attention.Watcher`."""
        raise NotImplementedError

    def spread(self, rows: Float[Tensor, "A M D"]) -> Float[Tensor, "B P D"]:
        """What each patch has of its row; unchanged if these are not the rows that were taken out."""
        return rows if self.taken is None else self.taken.spread(rows)

    def spread_heads(self, heads: Float[Tensor, "A H M d"]) -> Float[Tensor, "B H P d"]:
        """Queries or keys of each patch: those of the row it went to."""
        spread = self.spread(heads.transpose(1, 2).flatten(2))
        return spread.unflatten(2, (heads.shape[1], -1)).transpose(1, 2)

    def take(self, states: Float[Tensor, "B P D"], call: Mapping[str, Any]) -> Taken | None:
        """The rows that the layers compute; None for all.

        Args:
            states: of all rows.
            call: arguments of the first layer.
        """
        raise NotImplementedError

    def _enter(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.is_on:
            return None
        layer = self.layers[number]
        signature = Signature.of(type(layer))
        call = signature.bind(args, kwargs)
        states = call[signature.names[0]]
        if number == self.first:
            self.taken = self.take(states if states.dim() == 3 else states[None], call)
            self.rows = None if self.taken is None else _shaped(self.taken.states, states)
        self.lengths = self._sequences_of(states, call)
        whole = self.cost(layer, sum(self.lengths), squares(self.lengths))
        if self.taken is None:
            self.count(whole, whole)
            return None
        changed = {
            name: self.taken.cut(name, value)
            for name, value in call.items()
            if name != signature.names[0]
        }
        assert self.rows is not None
        pairs = self.taken.pairs({**call, **changed}, self.lengths)
        self.count(self.cost(layer, self.rows.shape[:-1].numel(), pairs), whole)
        changed[signature.names[0]], self.rows = self.rows, None
        return signature.rebind(args, kwargs, changed)

    def _leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not self.is_on or self.taken is None:
            return None
        rows = output[0] if isinstance(output, tuple) else output
        self.rows = rows
        whole = _shaped(self.taken.spread(rows if rows.dim() == 3 else rows[None]), rows)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    def _enter_unread(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        signature = Signature.of(type(self.layers[number]))
        call = signature.bind(args, kwargs)
        states = call.pop(signature.names[0])
        goes_along = any(isinstance(value, (Tensor, tuple)) for value in call.values())
        if not self.is_on or states.dim() != 3 or goes_along:
            return None
        layer, self.passing = self.layers[number], states
        lengths = self._sequences_of(states, call)
        self.count(self.cost(layer, 1, 1), self.cost(layer, sum(lengths), squares(lengths)))
        return signature.rebind(args, kwargs, {signature.names[0]: states[:1, :1]})

    def _leave_unread(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        passing, self.passing = self.passing, None
        if passing is None:
            return None
        return (passing, *output[1:]) if isinstance(output, tuple) else passing

    def _sequences_of(self, states: Tensor, call: Mapping[str, Any]) -> tuple[int, ...]:
        """The same as `sequences_of`, brought to the host once for all layers."""
        ends = ends_in(call)
        if ends is None:
            return sequences_of(states, call)
        if id(ends) not in self._known:
            self._known[id(ends)] = ends, sequences_of(states, call)
        return self._known[id(ends)][1]

    def divided(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """What was spent, and would have been without the method, for each image or clip.

        Args:
            sizes: visual tokens of each, by which it is divided.
        """
        return divide(self.spent[0], sizes), divide(self.spent[1], sizes)

    def count(self, flops: int, unreduced: int) -> None:
        """Add to what this encoding spent, and would have spent."""
        self.spent = self.spent[0] + flops, self.spent[1] + unreduced


def layers_read(chosen: int | Sequence[int], depth: int) -> int:
    """How many of a tower's layers lie before the last hidden state that is read.

    Args:
        chosen: hidden states that are read.
        depth: layers of the tower.

    Raises:
        UnsupportedError: the embeddings are read.
    """
    states = (chosen,) if isinstance(chosen, int) else chosen
    read = [state if state >= 0 else depth + 1 + state for state in states]
    if not min(read):
        raise UnsupportedError(
            f"this model reads the vision encoder's embeddings (hidden states {chosen!r}), which a "
            "method in the encoder has changed by then"
        )
    return max(read)


def _shaped(rows: Float[Tensor, "B M D"], like: Tensor) -> Tensor:
    """A packed sequence may have no batch dimension."""
    return rows if like.dim() == 3 else rows[0]


def ends_in(call: Mapping[str, Any]) -> Tensor | None:
    """Where the sequences of a layer's rows end, if all are packed into one."""
    return next((value for name, value in call.items() if "cu_seqlens" in name), None)


def sequences_of(states: Tensor, call: Mapping[str, Any]) -> tuple[int, ...]:
    """How long the sequences are that a layer attends in, of all its rows."""
    ends = ends_in(call)
    if ends is not None:
        return tuple(ends.diff().tolist())
    batch, rows = (1, len(states)) if states.dim() == 2 else states.shape[:2]
    return (rows,) * batch


def squares(lengths: Sequence[int]) -> int:
    """Queries times keys in sequences of these lengths."""
    return sum(length * length for length in lengths)


def layer_flops(layer: nn.Module, rows: int, pairs: int) -> int:
    """What one layer takes: its matrices for so many rows, and attention of so many queries x keys."""
    weights = sum(part.numel() for part in layer.parameters() if part.dim() == 2)
    projection = next(part for part in attention_of(layer).parameters() if part.dim() == 2)
    return 2 * rows * weights + 4 * projection.shape[1] * pairs


def refuse_masked(call: Mapping[str, Any]) -> None:
    """Refuse patches that a layer masks.

    Raises:
        UnsupportedError: there are some.
    """
    if is_masked(call):
        raise UnsupportedError(
            "patches that the vision encoder masks cannot be merged: show pictures of one size"
        )


def is_masked(call: Mapping[str, Any]) -> bool:
    """Whether a layer masks some patches."""
    masks = [value for name, value in call.items() if name.endswith("mask")]
    return any(isinstance(mask, torch.Tensor) and not mask.bool().all() for mask in masks)
