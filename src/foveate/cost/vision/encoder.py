"""The table of encoders, by a config's model type, and the parts to build one of.

An encoder is a function of a config and a `Media`; its module registers it, and nothing else is edited.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.cost.vision.tower import Tower, plain_tower
from foveate.errors import InputError, UnsupportedError
from foveate.registry import discover

DEFAULT_SIDE = 448  # side of a picture without a size, if the encoder takes any


@dataclass(frozen=True)
class Media:
    """What is shown: pictures (`frames=0`) or one clip.

    Attributes:
        images: how many pictures.
        frames: of the clip, 0 for pictures.
        height: in pixels; None for the size that the encoder takes unchanged.
        width: in pixels, or None as well.
        max_pixels: a processor's limit for one picture or frame, where the family has one.
        changed: of each frame but the first the share of patches that a method which reuses them must
            encode; it depends on the clip, and by default all have changed.
    """

    images: int = 1
    frames: int = 0
    height: int | None = None
    width: int | None = None
    max_pixels: int | None = None
    changed: float = 1.0

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
        if not 0 <= self.changed <= 1:
            raise InputError(f"changed is a share of patches, in [0, 1], got {self.changed}")

    @property
    def computed(self) -> float:
        """Share of all patches that a method which reuses them must encode."""
        frames = max(self.frames, 1)
        return (1 + (frames - 1) * self.changed) / frames


@dataclass(frozen=True)
class Encoded:
    """The visual tokens of a prompt, and what encoding costs.

    Attributes:
        groups: visual tokens of each tile or frame, in reading order; merging never crosses a group.
        tower: the vision encoder.
        projector: the layers that bring its features to the LLM's width.
        width: features of a patch before the projector.
        key_width: of a patch's attention keys.
        patch_attention: computing the attention for methods that need "attention".
        grids: rows and columns of each group, None for a group without; by default groups are squares.
    """

    groups: tuple[int, ...]
    tower: Tower
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
        UnsupportedError: an unknown family; the message lists the known ones.
        InputError: a field of the config is missing.
    """
    table, kind = encoders(), getattr(config, "model_type", None)
    if kind not in table:
        raise UnsupportedError(
            f"cannot tell the visual tokens of model type {kind!r}; known: {', '.join(table)}"
        )
    try:
        encoded = table[kind](config, media)
    except AttributeError as error:
        raise InputError(
            f"the config of a {kind} lacks what its cost depends on: {error}"
        ) from None
    read = _read(getattr(config, "vision_feature_layer", -1), len(encoded.tower.layers))
    return replace(encoded, tower=replace(encoded.tower, read=read))


def _read(states: int | Sequence[int] | None, depth: int) -> int | None:
    """How many layers of a tower are read, by which of its hidden states are; None for all."""
    if states is None:
        return None
    chosen = (states,) if isinstance(states, int) else states
    return max(state if state >= 0 else depth + 1 + state for state in chosen)


def _square(tokens: int) -> tuple[int, int] | None:
    """Rows and columns of a square of that many tokens, None if it is none."""
    edge = math.isqrt(tokens)
    return (edge, edge) if edge**2 == tokens else None


def patch_attention(spans: Sequence[int], width: int, class_tokens: int = 0) -> Operation:
    """Attention of one layer, computed once more: that of [CLS] if there is one, else of every patch.

    Args:
        spans: tokens of each image, frame or window, with its class tokens.
        width: of the queries.
        class_tokens: 1 where the first token of a span is [CLS].
    """
    pairs = sum(spans) if class_tokens else sum(span * span for span in spans)
    return Operation(2 * width * pairs, 2 * width * pairs, 2 * width * sum(spans) + pairs)


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
    """Visual tokens and costs of pictures that a plain ViT encodes.

    Args:
        vision: its config.
        pictures: tiles or frames.
        patches: of one picture.
        groups: visual tokens of each tile or frame.
        projector: as in `Encoded`.
        extra: tokens beside the patches.
        layers: how many of the tower's go to the projector side by side.
        grids: as in `Encoded`.
    """
    width = vision.hidden_size
    shown = patch_attention([patches + extra] * pictures, width, extra)
    encoding = plain_tower(vision, pictures, patches, extra)
    return Encoded(groups, encoding, projector, layers * width, width, shown, grids)
