"""MiniCPM-V 4.6: a picture and slices of it; patches are joined inside the tower and behind it."""

import math
from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.cost.vision.encoder import (
    DEFAULT_SIDE,
    Encoded,
    Media,
    patch_attention,
    register_encoder,
)
from foveate.cost.vision.tower import Tower, TowerLayer, attention, linear, side

SLICE, MOST_SLICES = 448, 9  # the processors' own side of a slice, and the most of them
Shape = tuple[int, int]
Size = tuple[float, float]
Work = list[tuple[Operation, int]]


@register_encoder("minicpmv4_6")
def minicpm(config: Any, media: Media) -> Encoded:
    """A picture (or frame) is a group, and so is each slice of it."""
    vision, joins = config.vision_config, config.downsample_mode != "4x"
    patch, width, factor = side(vision.patch_size), vision.hidden_size, 4 if joins else 2
    size = float(media.height or DEFAULT_SIDE), float(media.width or DEFAULT_SIDE)
    views = _views(size, patch * factor) * (media.frames or media.images)
    patches = [rows * columns * factor**2 for rows, columns in views]
    seen = [span // 4 for span in patches] if joins else patches
    early = config.insert_layer_id + 1 if joins else vision.num_hidden_layers
    done = [(linear(sum(patches), 3 * patch**2, width), 1), *_layers(vision, patches, early)]
    if joins:
        done += _join(vision, sum(seen))
        done += _layers(vision, seen, vision.num_hidden_layers - early)
    projector, rows = [], sum(seen)
    for time in range(config.merger_times):
        rows //= 4
        out = width if time + 1 < config.merger_times else config.text_config.hidden_size
        projector += [(linear(rows, 4 * width, 4 * width), 1), (linear(rows, 4 * width, out), 1)]
    smaller = 2 ** (config.merger_times - 1)
    grids = tuple((rows // smaller, columns // smaller) for rows, columns in views)
    return Encoded(
        groups=tuple(math.prod(grid) for grid in grids),
        tower=Tower(Cost.of(done)),
        projector=Cost.of(projector),
        width=width,
        key_width=width,
        patch_attention=patch_attention(seen, width),
        grids=grids,
    )


def _layers(vision: Any, spans: list[int], count: int) -> Work:
    layer = TowerLayer(tuple(spans), vision.hidden_size, vision.intermediate_size)
    return [(operation, times * count) for operation, times in layer.operations()]


def _join(vision: Any, rows: int) -> Work:
    """Four patches each see each other and become one, of which there are then `rows`."""
    width, inner = vision.hidden_size, 4 * vision.intermediate_size
    return [
        (linear(4 * rows, width, width), 4),
        (attention([4] * rows, width), 1),
        (linear(rows, 4 * width, inner), 1),
        (linear(rows, inner, width), 1),
    ]


def _views(size: Size, step: int) -> list[Shape]:
    """Rows and columns of a picture and its slices, in steps of so many pixels."""
    height, width = size
    grid = _grid(size)
    if grid is None:
        return [_cells(size, step, enlarges=True)]
    rows, columns = grid
    part = float(_nearest(height / rows)), float(_nearest(width / columns))
    slices = [_cells(part, step, enlarges=True)] * (rows * columns)
    return [_cells(size, step, enlarges=False), *slices]


def _nearest(ratio: float) -> int:
    return max(round(ratio), 1)


def _cells(size: Size, step: int, *, enlarges: bool) -> Shape:
    """Of a picture that gets about the pixels of a slice."""
    height, width = size
    if height * width > SLICE**2 or enlarges:
        ratio = width / height
        height = math.floor(SLICE / math.sqrt(ratio))
        width = math.floor(height * ratio)
    return _nearest(height / step), _nearest(width / step)


def _grid(size: Size) -> Shape | None:
    """Rows and columns of slices, nearest to the picture's shape; None for none."""
    height, width = size
    many = min(math.ceil(height * width / SLICE**2), MOST_SLICES)
    if many <= 1:
        return None
    shape, best, least = math.log(width / height), (1, 1), math.inf
    for count in (many - 1, many, many + 1):
        if count == 1 or count > MOST_SLICES:
            continue
        for rows in (rows for rows in range(1, count + 1) if count % rows == 0):
            off = abs(shape - math.log(count // rows / rows))
            if off < least or (off == least and rows > best[0]):
                best, least = (rows, count // rows), off
    return best
