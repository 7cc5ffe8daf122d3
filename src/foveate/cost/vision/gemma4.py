"""Gemma 4: a picture of any shape in as many patches as fit, which are averaged in squares."""

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

IMAGE_TOKENS, FRAME_TOKENS = 280, 70  # the processors' own limits for an image and a frame


@register_encoder("gemma4")
def gemma4(config: Any, media: Media) -> Encoded:
    """An image or frame is a group; the tower computes as many patches as there may be, real or not."""
    vision, pictures = config.vision_config, media.frames or media.images
    most = FRAME_TOKENS if media.frames else IMAGE_TOKENS
    pool, width = vision.pooling_kernel_size, vision.hidden_size
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    rows, columns = _cells(size, most)
    tokens, patches = rows * columns, most * pool**2
    layer = TowerLayer((patches,) * pictures, width, vision.intermediate_size, matrices=3)
    fixed = [
        (linear(pictures * patches, 3 * side(vision.patch_size) ** 2, width), 1),
        (linear(most, patches, width), pictures),  # the averages, as a product
        *((work, times * vision.num_hidden_layers) for work, times in layer.operations()),
    ]
    return Encoded(
        groups=(tokens,) * pictures,
        tower=Tower(Cost.of(fixed)),
        projector=Cost.of([(linear(pictures * tokens, width, config.text_config.hidden_size), 1)]),
        width=width,
        key_width=width,
        patch_attention=patch_attention([tokens * pool**2] * pictures, width),
        grids=((rows, columns),) * pictures,
    )


def _cells(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Rows and columns of tokens: of the picture's shape, rounded down, and as many as may be."""
    height, width = size
    factor = math.sqrt(most / (height * width))
    rows, columns = math.floor(factor * height), math.floor(factor * width)
    if not rows:
        return 1, min(width // height, most)
    return (rows, columns) if columns else (min(height // width, most), 1)
