"""Where the visual tokens of a prompt are, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Visual:
    """Where the visual tokens of a batch sit in the prompt.

    Attributes:
        mask: (B, N), True at visual tokens.
        group: (V,), for each visual token, in reading order over the batch, the tile or frame that it
            belongs to; tokens of different groups are never merged. Row separators are a group.
        clip: (V,), the same for the clip: the frames of one clip are one, anything else stands alone.
        encoder: for a method at the encoder "features" and what else it needs, each (images, patches, E).
        encoder_signals: attention and keys of each token, (V, ...), as far as the method needs them.
        grid: rows and columns of each group, if the method needs them.
        flops: for each sample what was spent on these signals; empty for nothing.
        question_flops: likewise on reading the question for a learned compressor.
    """

    mask: Bool[Tensor, "B N"]
    group: Int[Tensor, " V"]
    clip: Int[Tensor, " V"]
    encoder: Mapping[str, Tensor] | None = None
    encoder_signals: Mapping[str, Tensor] = field(default_factory=dict)
    grid: Sequence[tuple[int, int]] = ()
    flops: Sequence[int] = ()
    question_flops: Sequence[int] = ()
