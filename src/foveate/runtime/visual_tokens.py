"""`Visual`: where the visual tokens of a prompt are, their groups and their signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Visual:
    """The visual tokens of a batch: their places, groups and signals.

    Attributes:
        mask: (B, N), True at visual tokens.
        here: the same on the CPU, where groups and clips are, too.
        group: (V,), for each visual token, in reading order over the batch, the tile or frame that it
            belongs to; tokens of different groups are never merged. Row separators are a group.
        clip: (V,), likewise the clip: all frames of a clip have one number, any other group one of its
            own.
        encoder: for a method at the encoder, "features" and its other needs, each (images, patches, E).
        encoder_signals: attention and keys of each token, (V, ...), as far as the method needs them.
        grid: rows and columns of each group, if the method needs them.
        flops: for each sample the FLOPs of these signals; empty if there are none.
        question_flops: likewise of reading the question for a learned compressor.
        encode_flops: likewise of the encoder's layers that a method shortens.
        encode_flops_unreduced: likewise of the same layers without it.
    """

    mask: Bool[Tensor, "B N"]
    here: Bool[Tensor, "B N"]
    group: Int[Tensor, " V"]
    clip: Int[Tensor, " V"]
    encoder: Mapping[str, Tensor] | None = None
    encoder_signals: Mapping[str, Tensor] = field(default_factory=dict)
    grid: Sequence[tuple[int, int]] = ()
    flops: Sequence[int] = ()
    question_flops: Sequence[int] = ()
    encode_flops: Sequence[int] = ()
    encode_flops_unreduced: Sequence[int] = ()

    @cached_property
    def sample(self) -> Int[Tensor, " V"]:
        """The sample of each visual token, on the CPU."""
        return self.here.nonzero()[:, 0]

    @cached_property
    def places(self) -> Int[Tensor, " V"]:
        """The place of each among all B * N tokens."""
        places = self.here.flatten().nonzero()[:, 0]
        return places.to(self.mask.device, non_blocking=True)

    def laid_out(self, values: Shaped[Tensor, "V ..."]) -> Shaped[Tensor, "B N ..."]:
        """Values of the visual tokens at their places, 0 at others."""
        places, shape = self.places.to(values.device), self.mask.shape
        whole = values.new_zeros(shape.numel(), *values.shape[1:])
        return whole.index_copy(0, places, values).unflatten(0, shape)
