"""LLaVA: a ViT and a two-layer projector; NeXT and OneVision add tiles with separators, and clips."""

import math
from itertools import pairwise
from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import Encoded, Media, by_tower, register_encoder
from foveate.cost.vision.tower import linear, side

Grids = tuple[tuple[int, int], ...]  # rows and columns of each group


def _layers(config: Any) -> int:
    """How many of the tower's layers are read side by side."""
    layers = getattr(config, "vision_feature_layer", -1)
    return 1 if isinstance(layers, int) else len(layers)


def project(config: Any, rows: int) -> Cost:
    """The two-layer projector over `rows` rows."""
    read = config.vision_config.hidden_size * _layers(config)
    out = config.text_config.hidden_size
    return Cost.of([(linear(rows, read, out), 1), (linear(rows, out, out), 1)])


def _grid(config: Any) -> int:
    return side(config.vision_config.image_size) // side(config.vision_config.patch_size)


def class_tokens(config: Any) -> int:
    """Tokens that the tower has besides its patches."""
    return int(config.vision_config.model_type == "clip_vision_model")


@register_encoder("llava", "vipllava")
def llava(config: Any, media: Media) -> Encoded:
    """Every picture (or frame) is resized to the one size of the tower."""
    pictures = media.frames or media.images
    patches = _grid(config) ** 2
    clip = class_tokens(config)
    chosen = getattr(config, "vision_feature_select_strategy", "default")  # vipllava has no other
    shown = patches + clip if chosen == "full" else patches
    groups, projector = (shown,) * pictures, project(config, pictures * shown)
    return by_tower(
        config.vision_config,
        pictures,
        patches,
        groups,
        projector,
        extra=clip,
        layers=_layers(config),
    )


@register_encoder("llava_onevision")
def llava_onevision(config: Any, media: Media) -> Encoded:
    """A lone picture is a base view and tiles; several are views; frames are pooled 2 x 2."""
    grid, half = _grid(config), math.ceil(_grid(config) / 2)
    if media.frames:
        grids, views = ((half, half),) * media.frames + ((1, 1),), media.frames
    elif media.images > 1:
        grids, views = ((grid, grid), (1, 1)) * media.images, media.images
    else:
        most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        grids, views = _anyres(config, media, most)
    return _tiled(config, grids, views, project(config, views * grid**2))


@register_encoder("llava_next")
def llava_next(config: Any, media: Media) -> Encoded:
    """Every picture is a base view and tiles; a frame is shown as a picture."""
    pictures, clip = media.frames or media.images, class_tokens(config)
    grids, views = _anyres(config, media, most=None)
    views, patches = pictures * views, _grid(config) ** 2
    return _tiled(config, grids * pictures, views, project(config, views * patches), clip)


@register_encoder("llava_next_video")
def llava_next_video(config: Any, media: Media) -> Encoded:
    """Pictures as in LLaVA-NeXT; frames are pooled before the projector."""
    if not media.frames:
        return llava_next(config, media)
    stride, width = config.spatial_pool_stride, config.vision_config.hidden_size
    patches, tokens = _grid(config) ** 2, (_grid(config) // stride) ** 2
    projector = project(config, media.frames * tokens)
    if config.spatial_pool_mode == "conv":
        projector += Cost.of([(linear(media.frames * tokens, width * stride**2, width), 1)])
    return by_tower(
        config.vision_config, media.frames, patches, (tokens,) * media.frames, projector,
        extra=class_tokens(config), layers=_layers(config),
    )  # fmt: skip


def _tiled(config: Any, grids: Grids, views: int, projector: Cost, extra: int = 0) -> Encoded:
    """Encoded views, laid out in groups of these grids; `extra` as in `tower`."""
    groups = tuple(rows * columns for rows, columns in grids)
    return by_tower(
        config.vision_config, views, _grid(config) ** 2, groups, projector,
        extra=extra, layers=_layers(config), grids=grids,
    )  # fmt: skip


def _anyres(config: Any, media: Media, most: int | None) -> tuple[Grids, int]:
    """Grids of base view, tiles and separators, and how many views are encoded.

    Args:
        config: of the whole model.
        media: one of its pictures counts here.
        most: tokens, in views, beyond which the tiles are resampled; None for no limit.
    """
    image, grid = side(config.vision_config.image_size), _grid(config)
    size = (media.height or image, media.width or image)
    height, width = best_resolution(size, config.image_grid_pinpoints)
    tiles = (height // image, width // image)
    whole = (tiles[0] * grid, tiles[1] * grid)
    seen = unpadded(whole, size)
    shown, ratio = seen, 1.0
    if most is not None:
        ratio = math.sqrt(seen[0] * seen[1] / (most * grid**2))
    if ratio > 1.1:
        shown = (int(seen[0] // ratio), int(seen[1] // ratio))
    tall, wide = (
        _shares(whole[axis], seen[axis], shown[axis], tiles[axis]) for axis in range(2)
    )  # fmt: skip
    cells = [(a, b) for a in tall for b in wide if a and b]
    return ((grid, grid), *cells, (shown[0], 1)), 1 + tiles[0] * tiles[1]


def best_resolution(size: tuple[int, int], offered: list[list[int]]) -> tuple[int, int]:
    """The (height, width) offered that keeps most of the picture's pixels, then wastes fewest."""

    def merit(pair: list[int]) -> tuple[int, int]:
        scale = min(pair[1] / size[1], pair[0] / size[0])
        shown = min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])
        return shown, -(pair[0] * pair[1] - shown)

    height, width = max(offered, key=merit)
    return height, width


def unpadded(grid: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a padded picture's grid that show it."""
    (rows, columns), (height, width) = grid, size
    if width / height > columns / rows:
        return rows - 2 * ((rows - int(round(height * columns / width, 7))) // 2), columns
    return rows, columns - 2 * ((columns - int(round(width * rows / height, 7))) // 2)


def _shares(whole: int, seen: int, shown: int, tiles: int) -> list[int]:
    """Rows of each tile, `shown` in all, if `seen` of their `whole` rows are not padding."""
    padding, tile = (whole - seen) // 2, whole // tiles
    ends = [min(max(tile * number - padding, 0), seen) for number in range(tiles + 1)]
    return [stop - start for start, stop in pairwise(round(end * shown / seen) for end in ends)]
