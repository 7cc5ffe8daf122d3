"""The table of encoders, by a config's model type, and the parts that they are made of.

An encoder is a function of a config and a `Media`; its module registers it and nothing else is edited.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.errors import InputError, UnsupportedError
from foveate.registry import discover

DEFAULT_SIDE = 448  # of a picture without a size, where the encoder takes any


@dataclass(frozen=True)
class Media:
    """What is shown: pictures (`frames=0`) or one clip.

    Attributes:
        images: how many pictures.
        frames: of the clip, 0 for pictures.
        height: in pixels; None for a picture or frame that the encoder takes as it is.
        width: in pixels, None as above.
        max_pixels: a processor's limit for one picture or frame, where the family has one.
    """

    images: int = 1
    frames: int = 0
    height: int | None = None
    width: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.frames < 0 or (self.frames and self.images > 1):
            raise InputError(
                f"media is at least 1 image or one clip of at least 1 frame, got images={self.images}, "
                f"frames={self.frames}"
            )
        if (self.height is None) != (self.width is None):
            raise InputError(f"height and width go together, got {self.height} and {self.width}")
        if self.height is not None and min(self.height, self.width or 0) < 1:
            raise InputError(f"a picture has pixels, got {self.height} x {self.width}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise InputError(f"max_pixels must be at least 1, got {self.max_pixels}")


@dataclass(frozen=True)
class Encoded:
    """Visual tokens and what it took to make them.

    Attributes:
        groups: visual tokens of each tile or frame, in reading order; merging never crosses a group.
        tower: the vision encoder.
        projector: what takes its features to the LLM's width.
        width: features of a patch before the projector.
        key_width: of the attention keys of a patch.
        patch_attention: the attention map that methods which need "attention" are handed.
        grids: rows and columns of each group, None where it has none; left out, those of squares.
    """

    groups: tuple[int, ...]
    tower: Cost
    projector: Cost
    width: int
    key_width: int
    patch_attention: Operation
    grids: tuple[tuple[int, int] | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.grids:
            object.__setattr__(self, "grids", tuple(map(_square, self.groups)))

    @property
    def tokens(self) -> int:
        """Visual tokens of the prompt."""
        return sum(self.groups)


Encoder = Callable[[Any, Media], Encoded]
_ENCODERS: dict[str, Encoder] = {}


def register_encoder(*model_types: str) -> Callable[[Encoder], Encoder]:
    """Decorator that enters an encoder into the table."""

    def enter(encoder: Encoder) -> Encoder:
        _ENCODERS.update(dict.fromkeys(model_types, encoder))
        return encoder

    return enter


def encoders() -> dict[str, Encoder]:
    """All encoders by model type, sorted."""
    discover("foveate.cost.vision")
    return dict(sorted(_ENCODERS.items()))


def encode(config: Any, media: Media) -> Encoded:
    """Visual tokens and encoding cost of a picture or clip.

    Raises:
        UnsupportedError: no such family; the message lists those there are.
        InputError: a field of the config is missing.
    """
    table, kind = encoders(), getattr(config, "model_type", None)
    if kind not in table:
        raise UnsupportedError(
            f"cannot tell the visual tokens of model type {kind!r}; known: {', '.join(table)}"
        )
    try:
        return table[kind](config, media)
    except AttributeError as error:
        raise InputError(
            f"the config of a {kind} lacks what its cost depends on: {error}"
        ) from None


def _square(tokens: int) -> tuple[int, int] | None:
    """Rows and columns of so many tokens, if they are a square."""
    edge = math.isqrt(tokens)
    return (edge, edge) if edge**2 == tokens else None


def side(size: Any) -> int:
    """A square's side, given as a number or a pair."""
    return size if isinstance(size, int) else size[0]


def linear(rows: int, into: int, out: int) -> Operation:
    """A matrix applied to rows."""
    flops = 2 * rows * into * out
    return Operation(flops, flops, into * out + rows * (into + out))


def attention(spans: Sequence[int], width: int) -> Operation:
    """Attention in which every token sees its own span."""
    flops = 4 * width * sum(span * span for span in spans)
    return Operation(flops, flops, 4 * width * sum(spans), attention=True)


def patch_attention(spans: Sequence[int], width: int, class_tokens: int = 0) -> Operation:
    """Attention of one layer as a map of its own: from [CLS] where there is one, else from every patch.

    Args:
        spans: tokens of each image, frame or window, with its class tokens.
        width: of the queries.
        class_tokens: 1 where the first token of a span is [CLS].
    """
    pairs = sum(spans) if class_tokens else sum(span * span for span in spans)
    return Operation(2 * width * pairs, 2 * width * pairs, 2 * width * sum(spans) + pairs)


def block(
    spans: Sequence[int], width: int, inner: int, matrices: int = 2
) -> tuple[tuple[Operation, int], ...]:
    """One encoder layer over images, frames or windows of so many patches."""
    rows = sum(spans)
    return (
        (linear(rows, width, width), 4),
        (linear(rows, width, inner), matrices),
        (attention(spans, width), 1),
        (Operation(0, 0, rows * (10 * width + 2 * inner)), 1),  # norms, residuals, activation
    )


def by_tower(
    vision: Any,
    pictures: int,
    patches: int,
    groups: tuple[int, ...],
    projector: Cost,
    *,
    extra: int = 0,
    layers: int = 1,
    grids: tuple[tuple[int, int] | None, ...] = (),
) -> Encoded:
    """What a plain ViT makes of pictures.

    Args:
        vision: its config.
        pictures: tiles or frames.
        patches: of one.
        groups: visual tokens of each tile or frame.
        projector: as of `Encoded`.
        extra: tokens beside the patches.
        layers: of the tower, that are handed to the projector side by side.
        grids: as of `Encoded`.
    """
    width = vision.hidden_size
    shown = patch_attention([patches + extra] * pictures, width, extra)
    encoding = tower(vision, pictures, patches, extra)
    return Encoded(groups, encoding, projector, layers * width, width, shown, grids)


def tower(vision: Any, pictures: int, patches: int, extra: int = 0) -> Cost:
    """A plain ViT: CLIP (`extra=1`, its class token), SigLIP, InternViT.

    Args:
        vision: its config.
        pictures: tiles or frames.
        patches: of one.
        extra: tokens beside the patches.
    """
    width, inner = vision.hidden_size, vision.intermediate_size
    channels = getattr(vision, "num_channels", 3)
    patch = channels * side(vision.patch_size) ** 2
    done = [(linear(pictures * patches, patch, width), 1)]
    for operation, times in block([patches + extra] * pictures, width, inner):
        done.append((operation, times * vision.num_hidden_layers))
    if vision.model_type.startswith("siglip") and getattr(vision, "vision_use_head", True):
        done += [
            (linear(pictures * patches, width, width), 2),  # keys and values of its pooling head
            (linear(pictures, width, width), 2),
            (attention([1] * pictures, width), patches),
            (linear(pictures, width, inner), 2),
        ]
    return Cost.of(done)
