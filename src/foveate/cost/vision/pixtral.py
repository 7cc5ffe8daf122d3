"""Mistral 3, LightOn OCR: a Pixtral tower, pictures of any shape, patches merged 2 x 2, two layers."""

import math
from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import (
    DEFAULT_SIDE,
    Encoded,
    Media,
    patch_attention,
    register_encoder,
)
from foveate.cost.vision.tower import Tower, TowerLayer, linear, side


@register_encoder("mistral3", "lighton_ocr")
def mistral3(config: Any, media: Media) -> Encoded:
    """A picture (or frame) is a group; its row breaks are text tokens.

    The tower computes all pictures of a prompt as one sequence, each masked from the others.
    """
    vision, merge = config.vision_config, config.spatial_merge_size
    pictures, step = media.frames or media.images, side(vision.patch_size) * merge
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    rows, columns = _cells(size, step, side(vision.image_size))
    tokens = rows * columns
    patches, width = pictures * tokens * merge**2, vision.hidden_size
    channels = getattr(vision, "num_channels", 3) * side(vision.patch_size) ** 2
    layer = TowerLayer((patches,), width, vision.intermediate_size, matrices=3)
    tower = Tower(
        fixed=Cost.of([(linear(patches, channels, width), 1)]),
        layers=(layer,) * vision.num_hidden_layers,
        pictures=(tokens * merge**2,) * pictures,
    )
    layers = getattr(config, "vision_feature_layer", -1)
    read = width * (1 if isinstance(layers, int) else len(layers))
    out, shown = config.text_config.hidden_size, pictures * tokens
    projector = [
        (linear(shown, width * merge**2, width), 1),
        (linear(shown, read, out), 1),
        (linear(shown, out, out), 1),
    ]
    return Encoded(
        groups=(tokens,) * pictures,
        tower=tower,
        projector=Cost.of(projector),
        width=read,
        key_width=width,
        patch_attention=patch_attention([tokens * merge**2] * pictures, width),
        grids=((rows, columns),) * pictures,
    )


def _cells(size: tuple[int, int], step: int, most: int) -> tuple[int, int]:
    """Rows and columns of tokens: the longest edge is at most `most` pixels, others are rounded up."""
    ratio = max(1.0, *(length / most for length in size))
    rows, columns = (math.ceil(math.floor(length / ratio) / step) for length in size)
    return rows, columns
