"""ERNIE 4.5 VL: pictures of any size, patches joined 2 x 2, then two frames joined in one token."""

from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import (
    DEFAULT_SIDE,
    Encoded,
    Media,
    patch_attention,
    register_encoder,
)
from foveate.cost.vision.qwen import resized
from foveate.cost.vision.tower import Tower, TowerLayer, linear

IMAGE_PIXELS = (56 * 56, 6177 * 28 * 28)  # the least and the most of its image processor
FRAME_PIXELS = (299 * 28 * 28, 1196 * 28 * 28)  # and of its video processor


@register_encoder("ernie4_5_vl_moe")
def ernie4_5_vl_moe(config: Any, media: Media) -> Encoded:
    """An image, or two frames, is a group; a last frame alone is shown twice."""
    vision, out = config.vision_config, config.text_config.hidden_size
    patch, merge, width = vision.patch_size, vision.spatial_merge_size, vision.hidden_size
    least, most = FRAME_PIXELS if media.frames else IMAGE_PIXELS
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    tall, wide = resized(*size, patch * merge, media.max_pixels or most, least)
    rows, columns = tall // patch, wide // patch
    grid = (rows // merge, columns // merge)
    joined = vision.temporal_merge_size if media.frames else 1
    shown = -(-media.frames // joined) if media.frames else media.images
    steps, tokens = shown * joined, grid[0] * grid[1]
    patches, inner = (rows * columns,) * steps, getattr(vision, "intermediate_size", 4 * width)
    read = Cost.of([(linear(sum(patches), vision.in_channels * patch**2, width), 1)])
    tower = Tower(read, (TowerLayer(patches, width, inner),) * vision.depth)
    space = width * merge**2
    projector = [
        (linear(steps * tokens, space, space), 2),
        (linear(shown * tokens, space * vision.temporal_merge_size, space), 1),
        (linear(shown * tokens, space, space), 1),
        (linear(shown * tokens, space, out), 1),
    ]
    watched, groups = patch_attention(patches, width), (tokens,) * shown
    return Encoded(groups, tower, Cost.of(projector), width, width, watched, (grid,) * shown)
