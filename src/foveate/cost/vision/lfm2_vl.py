"""LFM2-VL: small pictures keep their shape, large ones are cut into tiles; all are padded to one length.

The settings are those of the published processors, which no config.json holds.
"""

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
from foveate.cost.vision.qwen import resized
from foveate.cost.vision.tiled import nearest_grid
from foveate.cost.vision.tower import Tower, TowerLayer, linear

TOKENS = (64, 256)  # `min_image_tokens` and `max_image_tokens`, of a picture that is not cut
TILE, TILES = 512, (2, 10)  # `tile_size` in pixels; `min_tiles` and `max_tiles`
TOLERANCE = 2.0  # `max_pixels_tolerance`: a picture over so many times the most tokens is cut


@register_encoder("lfm2_vl")
def lfm2_vl(config: Any, media: Media) -> Encoded:
    """A picture, or each of its tiles and it as a whole, is a group; a frame is shown as a picture."""
    vision, factor = config.vision_config, config.downsample_factor
    cell = vision.patch_size * factor  # of a token, in pixels
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    grids = _grids(size, cell) * (media.frames or media.images)
    most = max(TOKENS[1] * factor**2, (TILE // vision.patch_size) ** 2)  # patches, empty ones too
    groups, width = tuple(rows * columns for rows, columns in grids), vision.hidden_size
    patches, many = (most,) * len(grids), most * len(grids)
    places = getattr(vision, "num_patches", 256)
    channels = getattr(vision, "num_channels", 3) * vision.patch_size**2
    read = Cost.of([(linear(many, channels, width), 1), (linear(many, places, width), 1)])
    layer = TowerLayer(patches, width, vision.intermediate_size)
    tower = Tower(read, (layer,) * vision.num_hidden_layers)
    inner, rows = config.projector_hidden_size, len(grids) * (most // factor**2)
    projector = [
        (linear(rows, width * factor**2, inner), 1),
        (linear(rows, inner, config.text_config.hidden_size), 1),
    ]
    shown = patch_attention(patches, width)
    return Encoded(groups, tower, Cost.of(projector), width, width, shown, grids)


def _grids(size: tuple[int, int], cell: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of tokens of each tile, the picture as a whole last."""
    least, most = (tokens * cell**2 for tokens in TOKENS)
    tall, wide = resized(*size, cell, most, least)
    whole = (tall // cell, wide // cell)
    high, broad = (max(cell // 2, round(length / cell) * cell) for length in size)
    if high * broad <= most * TOLERANCE:
        return (whole,)
    rows, columns = nearest_grid(size, TILE, *TILES)
    return ((TILE // cell, TILE // cell),) * math.prod((rows, columns)) + (whole,)
