"""GLM-4.1V to GLM-4.6V, GLM-OCR: as Qwen-VL, with a convolution and a gated layer behind the tower."""

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

LEAST, MOST = 112 * 112, 28 * 28 * 15000  # the processors' limits for an image, counted as 2 frames
MOST_OF_CLIP = 28 * 28 * 2 * 30000  # and for all frames of a clip


@register_encoder("glm4v", "glm46v", "glm4v_moe", "glm_ocr")
def glm(config: Any, media: Media) -> Encoded:
    """Two frames (or one picture, shown twice) are one step in time; a step is a group."""
    vision = config.vision_config
    patch, merge = side(vision.patch_size), vision.spatial_merge_size
    time = side(vision.temporal_patch_size)
    steps = math.ceil(media.frames / time) if media.frames else media.images
    tall, wide = _size(media, patch * merge, time)
    rows, columns = tall // patch, wide // patch
    patches, tokens = rows * columns, rows * columns // merge**2
    width, out = vision.hidden_size, vision.out_hidden_size
    is_ocr = config.model_type == "glm_ocr"
    inner = vision.intermediate_size if is_ocr else out
    read = getattr(vision, "in_channels", 3) * time * patch**2
    layer = TowerLayer((patches,) * steps, width, inner, matrices=3)
    tower = Tower(Cost.of([(linear(steps * patches, read, width), 1)]), (layer,) * vision.depth)
    gated = out * vision.in_channels if is_ocr else vision.intermediate_size
    projector = [
        (linear(steps * tokens, width * merge**2, out), 1),
        (linear(steps * tokens, out, out), 1),
        (linear(steps * tokens, out, gated), 3),
    ]
    return Encoded(
        groups=(tokens,) * steps,
        tower=tower,
        projector=Cost.of(projector),
        width=width,
        key_width=width,
        patch_attention=patch_attention([patches] * steps, width),
        grids=((rows // merge, columns // merge),) * steps,
    )


def _size(media: Media, factor: int, time: int) -> tuple[int, int]:
    """The size that the processor resizes a picture, or each frame of a clip, to."""
    height, width = media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE
    if (short := min(height, width)) < factor:
        height, width = (int(length * (factor / short)) for length in (height, width))
    frames = max(media.frames, time)
    most = frames * media.max_pixels if media.max_pixels else MOST_OF_CLIP if media.frames else MOST
    tall, wide = (round(length / factor) * factor for length in (height, width))
    pixels = round(frames / time) * time * tall * wide
    if pixels > most:
        shrink = math.sqrt(frames * height * width / most)
        tall, wide = (
            max(factor, math.floor(length / shrink / factor) * factor) for length in (height, width)
        )
    elif pixels < LEAST:
        grow = math.sqrt(LEAST / (frames * height * width))
        tall, wide = (math.ceil(length * grow / factor) * factor for length in (height, width))
    return tall, wide
