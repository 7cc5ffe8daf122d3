"""Families of equal square tiles: InternVL, Qianfan-OCR, Idefics3, SmolVLM, Gemma 3, PaliGemma.

The number of a picture's tiles depends on the processor's settings, which no config.json holds: those of
the published checkpoints are used. A picture without a size is one tile; so is every frame of a clip.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import Encoded, Media, by_tower, register_encoder
from foveate.cost.vision.tower import linear, side

MOST_TILES = 12  # of InternVL: `max_patches`; `min_patches` is 1
LONGEST_EDGE = (
    4  # of Idefics3 and SmolVLM: `size`, in tiles of `max_image_size`: 1456, 1536, 2048 pixels
)


@register_encoder("internvl", "qianfan_ocr")
def internvl(config: Any, media: Media) -> Encoded:
    """Pixel shuffle, then two layers.

    Pictures are cut as the processor does with `crop_to_patches`, its default: a thumbnail is added to
    two tiles or more. Published settings: 1 to 12 tiles, of the tower's size.
    """
    joined = int(1 / config.downsample_ratio) ** 2
    out, read = config.text_config.hidden_size, config.vision_config.hidden_size * joined
    tiles, tokens = _tiles(config, media, internvl_grid), _patches(config) // joined
    return _encoded(config, tiles, tokens, [(read, out), (out, out)], extra=1)


@register_encoder("idefics3", "smolvlm")
def idefics3(config: Any, media: Media) -> Encoded:
    """Pixel shuffle, then one layer.

    Pictures are resized until their longest edge is 4 tiles of the tower's size, then cut; the whole
    picture is one more tile. Published settings: `do_image_splitting`, `size` 4 times `max_image_size`.
    """
    joined = config.scale_factor**2
    out, read = config.text_config.hidden_size, config.vision_config.hidden_size * joined
    tiles, tokens = _tiles(config, media, idefics3_grid), _patches(config) // joined
    return _encoded(config, tiles, tokens, [(read, out)])


@register_encoder("gemma3")
def gemma3(config: Any, media: Media) -> Encoded:
    """Average pooling to a fixed count, then one layer; a picture is one tile, without pan-and-scan.

    Published settings: `do_pan_and_scan` is off.
    """
    matrix = config.vision_config.hidden_size, config.text_config.hidden_size
    return _encoded(config, media.frames or media.images, config.mm_tokens_per_image, [matrix])


@register_encoder("paligemma")
def paligemma(config: Any, media: Media) -> Encoded:
    """Every patch is a token; one layer; a picture is one tile."""
    matrix = config.vision_config.hidden_size, config.projection_dim
    return _encoded(config, media.frames or media.images, _patches(config), [matrix])


def internvl_grid(size: tuple[int, int], tile: int) -> tuple[int, int]:
    """Rows and columns of the grid of 1 to 12 tiles that InternVL cuts a picture into.

    Args:
        size: height and width of the picture.
        tile: side of a tile.
    """
    return nearest_grid(size, tile, 1, MOST_TILES)


def nearest_grid(size: tuple[int, int], tile: int, least: int, most: int) -> tuple[int, int]:
    """Rows and columns of the grid of tiles whose shape is nearest to the picture's.

    Of equally near ones it is the one with more tiles, as long as the picture has over half of their
    pixels.

    Args:
        size: height and width of the picture.
        tile: side of a tile.
        least: how few there may be.
        most: how many there may be.
    """
    height, width = size
    best, nearest = (1, 1), math.inf
    for columns, rows in _grids(least, most):
        off = abs(width / height - columns / rows)
        if off < nearest or (off == nearest and 2 * height * width > tile**2 * columns * rows):
            best, nearest = (rows, columns), off
    return best


def idefics3_grid(size: tuple[int, int], tile: int) -> tuple[int, int]:
    """Rows and columns of tiles of a picture that is resized to 4 tiles along its longest edge.

    Args:
        size: height and width of the picture.
        tile: side of a tile.
    """
    height, width = size
    longest, ratio = LONGEST_EDGE * tile, width / height
    short = int(longest / ratio if width >= height else longest * ratio)
    across = math.ceil(max(short + short % 2, 1) / tile)
    return (across, LONGEST_EDGE) if width >= height else (LONGEST_EDGE, across)


def _grids(least: int, most: int) -> list[tuple[int, int]]:
    """All (columns, rows) of `least` to `most` tiles, those of fewer tiles first."""
    sides = range(1, most + 1)
    found = [(wide, high) for wide in sides for high in sides if least <= wide * high <= most]
    return sorted(found, key=lambda grid: grid[0] * grid[1])


def _tiles(
    config: Any, media: Media, grid: Callable[[tuple[int, int], int], tuple[int, int]]
) -> int:
    """Tiles of all pictures, the whole picture one more if it is cut; of a clip one a frame."""
    if media.frames:
        return media.frames
    tile = side(config.vision_config.image_size)
    parts = math.prod(grid((media.height or tile, media.width or tile), tile))
    return media.images * (parts + 1 if parts > 1 else 1)


def _patches(config: Any) -> int:
    return (side(config.vision_config.image_size) // side(config.vision_config.patch_size)) ** 2


def _encoded(
    config: Any,
    tiles: int,
    tokens: int,
    matrices: Sequence[tuple[int, int]],
    extra: int = 0,
) -> Encoded:
    """Tiles of `tokens` tokens each, through the projector's matrices; `extra` as in `tower`."""
    projector = Cost.of([(linear(tiles * tokens, *matrix), 1) for matrix in matrices])
    groups = (tokens,) * tiles
    return by_tower(config.vision_config, tiles, _patches(config), groups, projector, extra=extra)
