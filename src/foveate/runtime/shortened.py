"""A vision tower whose layers compute fewer rows from one layer on, by hooks on its layers.

At the entrance of the method's layer the patches of each picture or window are merged; what goes along by
row (rotary embeddings, masks, the ends of packed sequences) is cut with them. Attention to a row is
raised by the logarithm of its size, so that it counts as the patches in it. Behind each layer every
patch gets back what its row has become, whoever reads it; the next layer goes on with the rows. What is
computed is what the whole tower would compute, had the merged patches been alike from that layer on.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foveate.errors import InputError, UnsupportedError
from foveate.models.towers import attention_of, chosen_state, known_tower, tower_layers
from foveate.reduction import Shortener
from foveate.runtime.rows import gather_rows
from foveate.runtime.seams import Signature, by_row

Hook = Callable[..., Any]


@dataclass(frozen=True)
class Merged:
    """The rows of one call of a tower, after merging.

    Attributes:
        states: (B, M, D), of the rows that stay.
        index: (B, M), which of the P rows they are.
        source: (B, P), for each row the one of the M that it is part of.
        log_size: (B, M), logarithm of how many rows are in each.
    """

    states: Float[Tensor, "B M D"]
    index: Int[Tensor, "B M"]
    source: Int[Tensor, "B P"]
    log_size: Float[Tensor, "B M"]

    def spread(self, rows: Float[Tensor, "B M D"]) -> Float[Tensor, "B P D"]:
        """What each of the P rows has become."""
        return gather_rows(rows, self.source)

    def cut(self, name: str, value: Any) -> Any:
        """An argument of a layer, for the rows that stay."""
        if not isinstance(value, (Tensor, tuple)):
            return value
        rows = self.source.shape[1]
        if isinstance(value, Tensor) and "seqlens" in name:  # how many stay before each end
            stays = torch.zeros(rows + 1, dtype=value.dtype, device=value.device)
            stays[self.index[0] + 1] = 1
            return stays.cumsum(0, dtype=value.dtype)[value.long()]
        if isinstance(value, Tensor) and name.endswith("mask") and value.dim() == 4:
            down = self.index[:, None, :, None].expand(-1, *value.shape[1:2], -1, rows)
            across = self.index[:, None, None].expand(-1, *value.shape[1:2], down.shape[2], -1)
            return value.expand(len(down), -1, rows, rows).gather(2, down).gather(3, across)
        if isinstance(value, tuple):
            return tuple(self.cut(name, part) for part in value)
        if value.dim() == 2 and value.is_floating_point():  # (P, d) of one packed sequence
            return value[self.index[0]] if len(value) == rows else value
        return by_row(value, self.index, rows)


class Shortened(threading.local):
    """The tower of one model under a method in the encoder; its state belongs to each thread.

    Attributes:
        spent: FLOPs of the layers and of merging in this encoding, and of the same layers without.

    Args:
        core: the model without its head.
        method: what merges the patches.

    Raises:
        UnsupportedError: a tower that is not known.
        InputError: the tower has no such layer, or nobody reads what it puts out.
    """

    def __init__(self, core: Any, method: Shortener) -> None:
        self.core, self.method = core, method
        self.layers = tower_layers(core)
        depth, chosen = len(self.layers), chosen_state(core)
        states = (chosen,) if isinstance(chosen, int) else chosen
        read = [state if state >= 0 else depth + 1 + state for state in states]
        if not min(read):
            raise UnsupportedError(
                f"this model reads the vision encoder's embeddings (hidden states {chosen!r}), which a "
                "method in the encoder has merged by then"
            )
        if not 0 <= method.layer < max(read):
            raise InputError(
                f"layer must be one of the {max(read)} layers of this vision encoder whose outputs are "
                f"read, 0 to {max(read) - 1}, got {method.layer}"
            )
        self.begin(None)
        self.end()

    def begin(self, packed: Sequence[int] | None) -> None:
        """An encoding starts.

        Args:
            packed: patches of each picture, where all are one sequence.
        """
        self.is_on, self.packed = True, packed
        self.merged: Merged | None = None
        self.rows: Tensor | None = None  # those that the next layer goes on with
        self.seen = 0  # rows of this layer whose attention was already computed
        self.spent = (0, 0)

    def end(self) -> None:
        """The encoding is over."""
        self.is_on, self.rows = False, None

    def hooks(self) -> Iterator[tuple[nn.Module, Hook, bool]]:
        """For each layer from the method's on: (module, hook, whether it runs after the forward)."""
        for number in range(self.method.layer, len(self.layers)):
            yield self.layers[number], partial(self._enter, number), False
            yield self.layers[number], self._leave, True

    def attentions(self) -> list[Any]:
        """The attention modules of these layers."""
        return [attention_of(layer) for layer in self.layers[self.method.layer :]]

    def raise_by_size(
        self, query: Float[Tensor, "B H N d"], key: Float[Tensor, "B H N d"], scaling: float | None
    ) -> Float[Tensor, "B 1 1 N"] | None:
        """What is added to a layer's attention logits: the logarithm of each row's size.

        A packed sequence may come picture by picture.
        """
        if not self.is_on or self.merged is None:
            return None
        start, self.seen = self.seen, self.seen + key.shape[2]
        return self.merged.log_size[:, None, None, start : self.seen].to(query)

    def spread(self, rows: Float[Tensor, "B M D"]) -> Float[Tensor, "B P D"]:
        """What each patch has of its row; unchanged if these are not the merged rows."""
        merged = self.merged
        is_merged = merged is not None and rows.shape[1] == merged.index.shape[1]
        return merged.spread(rows) if merged is not None and is_merged else rows

    def spread_heads(self, heads: Float[Tensor, "B H M d"]) -> Float[Tensor, "B H P d"]:
        """Queries or keys of each patch: those of the row it went to."""
        spread = self.spread(heads.transpose(1, 2).flatten(2))
        return spread.unflatten(2, (heads.shape[1], -1)).transpose(1, 2)

    def _enter(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.is_on:
            return None
        signature = Signature.of(type(self.layers[number]))
        call = signature.bind(args, kwargs)
        states = signature.names[0]
        if number == self.method.layer:
            self.merged = self._merge(call[states], call)
            self.rows = self._shaped(self.merged.states, call[states])
        merged = self.merged
        assert merged is not None
        changed = {name: merged.cut(name, value) for name, value in call.items() if name != states}
        changed[states] = self.rows
        self._count(
            _flops(self.layers[number], {**call, **changed}, merged.index),
            _flops(self.layers[number], call, merged.source),
        )
        self.rows, self.seen = None, 0
        return signature.rebind(args, kwargs, changed)

    def _leave(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not self.is_on or self.merged is None:
            return None
        rows = output[0] if isinstance(output, tuple) else output
        self.rows = rows
        whole = self._shaped(self.merged.spread(rows if rows.dim() == 3 else rows[None]), rows)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    def _count(self, flops: int, unreduced: int) -> None:
        self.spent = self.spent[0] + flops, self.spent[1] + unreduced

    @staticmethod
    def _shaped(rows: Float[Tensor, "B M D"], like: Tensor) -> Tensor:
        """A packed sequence may have no batch dimension."""
        return rows if like.dim() == 3 else rows[0]

    def _merge(self, states: Tensor, call: Mapping[str, Any]) -> Merged:
        """Merge the patches of each picture or window."""
        states = states if states.dim() == 3 else states[None]
        batch, count, width = states.shape
        flat, spans = states.flatten(0, 1), self._spans(batch, count, call)
        target = torch.arange(len(flat), device=flat.device)
        sizes, merged = torch.ones_like(target), flat.clone()
        for length in sorted({span.numel() for span in spans}):
            members = torch.stack([span for span in spans if span.numel() == length])
            tokens = self.method(flat[members])
            self._count(len(members) * self.method.flops(length, width), 0)
            places = members.gather(1, tokens.position)
            target[members] = places.gather(1, tokens.source)
            sizes[places], merged[places] = tokens.size, tokens.features
        stays = target == torch.arange(len(flat), device=flat.device)
        rank = stays.cumsum(0) - 1
        index = stays.nonzero()[:, 0].view(batch, -1)
        first = torch.arange(batch, device=flat.device)[:, None]
        return Merged(
            states=merged[index],
            index=index - first * count,
            source=rank[target].view(batch, count) - first * index.shape[1],
            log_size=sizes[index].float().log(),
        )

    def _spans(self, batch: int, count: int, call: Mapping[str, Any]) -> list[Int[Tensor, " P"]]:
        """The rows that may be merged with each other, of all rows of a batch, without [CLS].

        Raises:
            UnsupportedError: some patches are masked, or the sequences are not as long as the rows.
        """
        device = next(v.device for v in call.values() if isinstance(v, Tensor))
        every = torch.arange(batch * count, device=device)
        ends = next((value for name, value in call.items() if "cu_seqlens" in name), None)
        if ends is not None or self.packed is not None:
            lengths = self.packed if ends is None else ends.diff().tolist()
            if batch != 1 or sum(lengths or ()) != count:
                raise UnsupportedError(
                    f"this vision encoder computes {batch} x {count} rows in sequences of {lengths}"
                )
            return list(every.split(lengths))
        masks = [value for name, value in call.items() if name.endswith("mask")]
        if any(mask is not None and not mask.bool().all() for mask in masks):
            raise UnsupportedError(
                "patches that the vision encoder masks cannot be merged: show pictures of one size"
            )
        tower = known_tower(self.core)
        extra = int(tower is not None and tower.class_token)
        return list(every.view(batch, count)[:, extra:])


def _flops(layer: nn.Module, call: Mapping[str, Any], rows: Int[Tensor, "B N"]) -> int:
    """What one layer takes for these rows: its matrices, and attention inside each sequence."""
    weights = sum(part.numel() for part in layer.parameters() if part.dim() == 2)
    projection = next(part for part in attention_of(layer).parameters() if part.dim() == 2)
    ends = next((value for name, value in call.items() if "cu_seqlens" in name), None)
    spans = [rows.shape[1]] * len(rows) if ends is None else ends.diff().tolist()
    squares = sum(span * span for span in spans)
    return 2 * rows.numel() * weights + 4 * projection.shape[1] * squares
