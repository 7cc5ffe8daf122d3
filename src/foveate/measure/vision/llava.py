"""LLaVA: a ViT and a two-layer projector; LLaVA-OneVision adds tiles with separators, and clips."""

import math
from itertools import pairwise
from typing import Any

from foveate.measure.cost import Cost
from foveate.measure.vision.encoder import (
    Encoded,
    Media,
    linear,
    register_encoder,
    side,
    tower,
)


def _project(config: Any, rows: int) -> Cost:
    width, out = config.vision_config.hidden_size, config.text_config.hidden_size
    layers = getattr(config, "vision_feature_layer", -1)
    read = width * (1 if isinstance(layers, int) else len(layers))
    return Cost.of([(linear(rows, read, out), 1), (linear(rows, out, out), 1)])


def _grid(config: Any) -> int:
    return side(config.vision_config.image_size) // side(config.vision_config.patch_size)


@register_encoder("llava", "vipllava")
def llava(config: Any, media: Media) -> Encoded:
    """Every picture (or frame) is resized to the one size of the tower."""
    pictures = media.frames or media.images
    patches = _grid(config) ** 2
    clip = int(config.vision_config.model_type == "clip_vision_model")
    shown = patches + clip if config.vision_feature_select_strategy == "full" else patches
    return Encoded(
        groups=(shown,) * pictures,
        tower=tower(config.vision_config, pictures, patches, extra=clip),
        projector=_project(config, pictures * shown),
    )


@register_encoder("llava_onevision")
def llava_onevision(config: Any, media: Media) -> Encoded:
    """A lone picture is a base view and tiles; several are views; frames are pooled 2 x 2."""
    grid = _grid(config)
    vision = config.vision_config
    if media.frames:
        groups = (math.ceil(grid / 2) ** 2,) * media.frames + (1,)
        views = media.frames
    elif media.images > 1:
        groups, views = (grid**2, 1) * media.images, media.images
    else:
        groups, views = _anyres(config, media, grid)
    return Encoded(
        groups, tower(vision, views, grid**2), _project(config, views * grid**2)
    )  # fmt: skip


def _anyres(config: Any, media: Media, grid: int) -> tuple[tuple[int, ...], int]:
    """Tokens of base view, tiles and separators, and the views encoded."""
    image = side(config.vision_config.image_size)
    size = (media.height or image, media.width or image)
    height, width = best_resolution(size, config.image_grid_pinpoints)
    tiles = (height // image, width // image)
    rows, columns = unpadded((tiles[0] * grid, tiles[1] * grid), size)
    most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
    ratio = math.sqrt(rows * columns / (most * grid**2))
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    cells = [a * b for a in _shares(rows, tiles[0]) for b in _shares(columns, tiles[1])]
    return (grid**2, *(cell for cell in cells if cell), rows), 1 + tiles[0] * tiles[1]


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


def _shares(length: int, parts: int) -> list[int]:
    cuts = [length * part // parts for part in range(parts + 1)]
    return [stop - start for start, stop in pairwise(cuts)]
