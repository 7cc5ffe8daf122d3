"""A vision tower whose layers compute fewer rows from one layer on: patches that are alike are merged.

At the entrance of the method's layer the patches of each picture or window are merged; what goes along by
row (rotary embeddings, masks, the ends of packed sequences) is cut with them. Attention to a row is
raised by the logarithm of its size, so that it counts as the patches in it. What is computed is what the
whole tower would compute, had the merged patches been alike from that layer on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import InputError, UnsupportedError
from foveate.models.towers import known_tower
from foveate.reduction import Shortener
from foveate.runtime.encoder_rows import EncoderRows, ends_in, refuse_masked, sequences_of, squares
from foveate.runtime.rows import gather_rows
from foveate.runtime.seams import by_row


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
        """What each of the P rows has become; unchanged if these are not the merged ones."""
        return gather_rows(rows, self.source) if rows.shape[1] == self.index.shape[1] else rows

    def pairs(self, call: Mapping[str, Any], lengths: tuple[int, ...]) -> int:
        """Queries times keys of a layer that is called so."""
        return squares(sequences_of(self.states, call))

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


class Shortened(EncoderRows):
    """The tower of one model under a method that merges patches; its state belongs to each thread.

    Args:
        core: the model without its head.
        method: what merges the patches.
        keys: whether the keys behind the state that is read are asked for, too.

    Raises:
        UnsupportedError: a tower that is not known.
        InputError: the tower has no such layer, or nobody reads what it puts out.
    """

    def __init__(self, core: Any, method: Shortener, *, keys: bool = False) -> None:
        super().__init__(core, method.layer, keys=keys)
        self.method = method
        self.seen = 0  # rows of this layer whose attention was already computed
        check_layer(method, self.read)

    def see_attention(
        self, query: Float[Tensor, "B H N d"], key: Float[Tensor, "B H N d"], scaling: float | None
    ) -> Float[Tensor, "B 1 1 N"] | None:
        """What is added to a layer's attention logits: the logarithm of each row's size.

        A packed sequence may come picture by picture.
        """
        if not self.is_on or not isinstance(self.taken, Merged):
            return None
        log_size = self.taken.log_size
        start = self.seen % log_size.shape[1]
        self.seen = start + key.shape[2]
        return log_size[:, None, None, start : self.seen].to(query)

    def take(self, states: Float[Tensor, "B P D"], call: Mapping[str, Any]) -> Merged:
        """Merge the patches of each picture or window."""
        self.seen = 0
        batch, count, width = states.shape
        flat, spans = states.flatten(0, 1), self._spans(batch, count, call)
        target = torch.arange(len(flat), device=flat.device)
        sizes, merged = torch.ones_like(target), flat.clone()
        for length in sorted({span.numel() for span in spans}):
            members = torch.stack([span for span in spans if span.numel() == length])
            tokens = self.method(flat[members])
            self.count(len(members) * self.method.flops(length, width), 0)
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
        ends = ends_in(call)
        if ends is not None or self.packed is not None:
            lengths = self.packed if ends is None else ends.diff().tolist()
            if batch != 1 or sum(lengths or ()) != count:
                raise UnsupportedError(
                    f"this vision encoder computes {batch} x {count} rows in sequences of {lengths}"
                )
            return list(every.split(lengths))
        refuse_masked(call)
        tower = known_tower(self.core)
        extra = int(tower is not None and tower.class_token)
        return list(every.view(batch, count)[:, extra:])


def check_layer(method: Shortener, read: int) -> None:
    """Refuse a layer behind which nobody reads.

    Args:
        method: what merges the patches.
        read: how many layers lie before the last hidden state that is read.

    Raises:
        InputError: it is one.
    """
    if not 0 <= method.layer < read:
        raise InputError(
            f"layer must be one of the {read} layers of this vision encoder whose outputs are read, 0 to "
            f"{read - 1}, got {method.layer}"
        )
