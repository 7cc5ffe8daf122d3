"""`Visual`: where the visual tokens of a prompt are, their groups and their signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Visual:
    """The visual tokens of a batch: their places, groups and signals.

    Attributes:
        mask: (B, N), True at visual tokens.
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
    group: Int[Tensor, " V"]
    clip: Int[Tensor, " V"]
    encoder: Mapping[str, Tensor] | None = None
    encoder_signals: Mapping[str, Tensor] = field(default_factory=dict)
    grid: Sequence[tuple[int, int]] = ()
    flops: Sequence[int] = ()
    question_flops: Sequence[int] = ()
    encode_flops: Sequence[int] = ()
    encode_flops_unreduced: Sequence[int] = ()
