"""Qwen-VL: pictures of any size, patches merged 2 x 2, frames taken two at a time."""

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

MIN_PIXELS, MAX_PIXELS = 56 * 56, 28 * 28 * 1280  # the image processor's own limits


def resized(
    height: int, width: int, factor: int, most: int = MAX_PIXELS, least: int = MIN_PIXELS
) -> tuple[int, int]:
    """The size that the processor resizes to: multiples of `factor`, within its pixel limits."""
    tall, wide = (round(length / factor) * factor for length in (height, width))
    if tall * wide > most:
        shrink = math.sqrt(height * width / most)
        tall, wide = (
            max(factor, math.floor(length / shrink / factor) * factor) for length in (height, width)
        )
    elif tall * wide < least:
        grow = math.sqrt(least / (height * width))
        tall, wide = (math.ceil(length * grow / factor) * factor for length in (height, width))
    return tall, wide


WINDOWED = ("qwen2_5_vl", "qwen2_5_omni_thinker")  # whose layers see windows, but for some


@register_encoder(
    "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_omni_moe_thinker",
    *WINDOWED,
)  # fmt: skip
def qwen_vl(config: Any, media: Media) -> Encoded:
    """Two frames (or one picture, shown twice) are one step in time; a step is a group."""
    vision = config.vision_config
    patch, merge = side(vision.patch_size), vision.spatial_merge_size
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    tall, wide = resized(*size, patch * merge, media.max_pixels or MAX_PIXELS)
    rows, columns = tall // patch, wide // patch
    time = side(vision.temporal_patch_size)
    steps = math.ceil(media.frames / time) if media.frames else media.images
    patches = rows * columns
    width = vision.embed_dim if config.model_type == "qwen2_vl" else vision.hidden_size
    channels = getattr(vision, "in_channels", 3) * time * patch**2
    tower = Tower(
        fixed=Cost.of([(linear(steps * patches, channels, width), 1)]),
        layers=tuple(
            _layer(config.model_type, vision, layer, steps, (rows, columns))
            for layer in range(vision.depth)
        ),
    )
    joined = width * merge**2
    out = vision.hidden_size if config.model_type == "qwen2_vl" else vision.out_hidden_size
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
    tokens = patches // merge**2
    projector = [
        (linear(steps * tokens, joined, joined), mergers),
        (linear(steps * tokens, joined, out), mergers),
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


def _layer(kind: str, vision: Any, layer: int, steps: int, grid: tuple[int, int]) -> TowerLayer:
    spans = (grid[0] * grid[1],) * steps
    if kind == "qwen2_vl":
        return TowerLayer(spans, vision.embed_dim, int(vision.embed_dim * vision.mlp_ratio))
    if kind not in WINDOWED:
        return TowerLayer(spans, vision.hidden_size, vision.intermediate_size)
    if layer not in vision.fullatt_block_indexes:
        # a window is a whole number of merged tokens; those at the border are smaller
        reach = vision.window_size // vision.patch_size // vision.spatial_merge_size
        reach *= vision.spatial_merge_size
        windows = [
            min(reach, grid[0] - top) * min(reach, grid[1] - left)
            for top in range(0, grid[0], reach)
            for left in range(0, grid[1], reach)
        ]
        spans = tuple(windows) * steps
    return TowerLayer(spans, vision.hidden_size, vision.intermediate_size, matrices=3)
