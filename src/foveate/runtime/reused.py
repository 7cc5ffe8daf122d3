"""A vision tower that encodes a clip's changed patches only, and equal pictures once.

The rows that must be computed are packed into one sequence, so that norms, projections and MLPs run on
them alone. In each layer's attention they are sorted back into their frames: a frame's queries are the
rows computed in it, its keys and values those of every patch, each from the frame that it was last
computed in. Frames with about as many queries attend together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foveate.errors import UnsupportedError
from foveate.models.clips import Clip, clips_of, first_alike
from foveate.models.towers import known_tower, tower_of
from foveate.reduction import Reuser
from foveate.report import divide
from foveate.runtime.encoder_rows import EncoderRows, Hook, is_masked
from foveate.runtime.seams import Signature, by_row
from foveate.runtime.watch_attention import Attend, Rearranged

PARTS = 8  # frames whose share of queries falls into the same one of so many parts attend together


@dataclass(frozen=True)
class Together:
    """Frames or windows that attend at once, by their places among the packed rows.

    Attributes:
        queries: of each, filled up to the most.
        targets: where their outputs go; R where there is none.
        keys: of each, one for every patch.
    """

    queries: Int[Tensor, "G Q"]
    targets: Int[Tensor, "G Q"]
    keys: Int[Tensor, "G K"]


@dataclass(frozen=True)
class Packed:
    """The rows that are computed, of B x P in all.

    Attributes:
        states: (1, R, D), of these rows.
        index: (R,), which rows they are, of all in order.
        place: (B, P), for each row the one of the R that it has its output, keys and values of.
        computed: (B, P), whether a row is one of them.
    """

    states: Float[Tensor, "1 R D"]
    index: Int[Tensor, " R"]
    place: Int[Tensor, "B P"]
    computed: Bool[Tensor, "B P"]
    _together: dict[tuple[int, ...], list[Together]] = field(default_factory=dict)

    def spread(self, rows: Float[Tensor, "1 R D"]) -> Float[Tensor, "B P D"]:
        """What each row has; unchanged if these are not the packed ones."""
        is_packed = len(rows) == 1 and rows.shape[1] == len(self.index)
        return rows[0][self.place] if is_packed else rows

    def cut(self, name: str, value: Any) -> Any:
        """An argument of a layer, for the packed rows: one sequence, without a mask."""
        if not isinstance(value, (Tensor, tuple)):
            return value
        if isinstance(value, tuple):
            return tuple(self.cut(name, part) for part in value)
        if "seqlens" in name:
            return value.new_tensor([0, len(self.index)])
        if name.endswith("mask"):
            return None
        if value.dim() == 2 and value.is_floating_point():  # (P, d) of one packed sequence
            return value[self.index] if len(value) == self.place.numel() else value
        return by_row(value, self.index[None], self.place.numel())

    def together(self, lengths: tuple[int, ...]) -> list[Together]:
        """All frames or windows with a row to compute, of these lengths."""
        if lengths not in self._together:
            self._together[lengths] = list(self._grouped(lengths))
        return self._together[lengths]

    def _grouped(self, lengths: tuple[int, ...]) -> list[Together]:
        every = torch.arange(self.place.numel(), device=self.place.device).split(lengths)
        place, computed, groups = self.place.flatten(), self.computed.flatten(), []
        for length in sorted(set(lengths)):
            members = torch.stack([rows for rows in every if len(rows) == length])
            counts = computed[members].sum(1).tolist()
            parts = [-(-count * PARTS // length) for count in counts]
            for part in sorted(set(parts) - {0}):
                chosen = [number for number, other in enumerate(parts) if other == part]
                rows, most = members[chosen], max(counts[number] for number in chosen)
                order = (~computed[rows]).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
                queries = rows.gather(1, order)
                places = place[queries]
                targets = torch.where(computed[queries], places, len(self.index))
                groups.append(Together(places, targets, place[rows]))
        return groups

    def pairs(self, call: Mapping[str, Any], lengths: tuple[int, ...]) -> int:
        """Queries times keys of a layer whose sequences are so long with all rows."""
        groups = self.together(lengths)
        return sum(group.queries.numel() * group.keys.shape[1] for group in groups)

    def attend(
        self,
        lengths: tuple[int, ...],
        stock: Attend,
        query: Float[Tensor, "1 H R d"],
        key: Float[Tensor, "1 K R d"],
        value: Float[Tensor, "1 K R v"],
    ) -> Float[Tensor, "1 R H v"]:
        """Attention of the packed rows, each in its frame or window."""
        rows = query.new_empty(len(self.index) + 1, query.shape[1], value.shape[3])
        for group in self.together(lengths):
            heads = (
                part[0][:, places].transpose(0, 1)
                for part, places in ((query, group.queries), (key, group.keys), (value, group.keys))
            )
            rows[group.targets] = stock(*heads).to(rows.dtype)
        return rows[None, :-1]


class Reused(EncoderRows):
    """The tower of one model under a method that reuses patches; its state belongs to each thread.

    Args:
        core: the model without its head.
        method: what tells which patches changed.
        keys: whether the keys behind the state that is read are asked for, too.

    Raises:
        UnsupportedError: a tower that is not known.
    """

    def __init__(self, core: Any, method: Reuser, *, keys: bool = False) -> None:
        super().__init__(core, 0, keys=keys)
        self.method = method
        self.clips: list[Clip] = []  # that the tower is handed
        self.by_clip: list[int] = []  # rows that are computed of each

    def hooks(self) -> Iterator[tuple[nn.Module, Hook, bool]]:
        """Of the tower and its layers: (module, hook, whether it runs after the forward)."""
        yield tower_of(self.core), self._see_pixels, False
        yield from super().hooks()

    def end(self) -> None:
        """The encoding is over."""
        super().end()
        self.clips = []

    def divided(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """What was spent, by the rows computed of each clip; by tokens where tiles are no clips."""
        spent, unreduced = super().divided(sizes)
        if len(self.by_clip) == len(sizes):
            spent = divide(self.spent[0], self.by_clip)
        return spent, unreduced

    def see_attention(self, query: Tensor, key: Tensor, scaling: float | None) -> Rearranged | None:
        """What attends in a layer's place while its rows are packed."""
        packed, lengths = self.taken, self.lengths
        if not self.is_on or not isinstance(packed, Packed):
            return None
        return lambda stock, *heads: packed.attend(lengths, stock, *heads)

    def take(self, states: Float[Tensor, "B P D"], call: Mapping[str, Any]) -> Packed | None:
        """Pack the rows that must be computed; None where all must, or some are masked."""
        self.by_clip = []
        if is_masked(call):
            return None
        parts = self._sources(self.clips)
        if sum(map(len, parts)) != states.shape[:2].numel():
            raise UnsupportedError(
                f"this vision encoder computes {states.shape[0]} x {states.shape[1]} rows of "
                f"{[len(part) for part in parts]} patches, so that unchanged ones cannot be told"
            )
        source = torch.cat(parts)
        computed = source == torch.arange(len(source), device=source.device)
        clips = computed.split([len(part) for part in parts])
        self.by_clip = torch.stack([clip.sum() for clip in clips]).tolist()
        if sum(self.by_clip) == len(source):
            return None
        index, rank = computed.nonzero()[:, 0], computed.cumsum(0) - 1
        return Packed(
            states=states.flatten(0, 1)[index][None],
            index=index,
            place=rank[source].view(states.shape[:2]),
            computed=computed.view(states.shape[:2]),
        )

    def _sources(self, clips: Sequence[Clip]) -> list[Int[Tensor, " rows"]]:
        """Of each clip, for each row the one, of all rows in order, whose output it has."""
        tower, parts, start = known_tower(self.core), [], 0
        for clip, first in zip(clips, first_alike(clips), strict=True):
            if first < len(parts):  # the same as one before
                parts.append(parts[first])
            else:
                source = self.method.sources(clip.patches, clip.grid)[:, clip.places]
                if tower is not None and tower.class_token:  # computed where any patch is
                    source = torch.cat([source.amax(1, keepdim=True), source], dim=1)
                rows = torch.arange(source.shape[1], device=source.device)
                parts.append((start + source * len(rows) + rows).flatten())
            start += len(parts[-1])
        return parts

    def _see_pixels(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.is_on:
            signature = Signature.of(type(tower_of(self.core)))
            pixels = signature.bind(args, kwargs)[signature.names[0]]
            self.clips = clips_of(self.core, self.modality, self.arguments, pixels)
