"""Images of any resolution as a base view and a grid of tiles, with row separators between them.

The model's own packing (`pack_image_features`) is run on labels in place of features, so that padding,
resampling and separators fall where they fall for the real ones.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

BASE, TILE, SEPARATOR = 0.0, 1.0, 2.0


def image_groups(core: Any, arguments: Mapping[str, Any]) -> list[Int[Tensor, " _"]]:
    """Base view, each tile, and the row separators of an image are groups of their own.

    Args:
        core: the model without its head.
        arguments: of its `get_image_features`.
    """
    vision = core.config.vision_config
    side = vision.image_size // vision.patch_size
    labels = [_views(grid, side) for grid in _grids_of_tiles(core, arguments)]
    packed = _pack(core, arguments, labels, torch.tensor([SEPARATOR, 0.0, 0.0]))
    return [image.round().long().unique(dim=0, return_inverse=True)[1] for image in packed]


def pack_image_patches(
    core: Any, arguments: Mapping[str, Any], patches: Float[Tensor, "I P C"]
) -> Float[Tensor, "V C"]:
    """The values of the patches of all views, packed as features are; 0 at separators."""
    views = [1 + rows * columns for rows, columns in _grids_of_tiles(core, arguments)]
    separator = patches.new_zeros(patches.shape[-1])
    return torch.cat(_pack(core, arguments, list(patches.split(views)), separator))


def image_grids(groups: Int[Tensor, " n"]) -> list[tuple[int, int]]:
    """Rows and columns of the base view, each tile, and the separators, which are one column."""
    labels, runs = groups.unique_consecutive(return_counts=True)
    shapes = [
        (int((labels == g).sum()), int(runs[labels == g][0])) for g in range(int(labels.max()) + 1)
    ]
    base = math.isqrt(shapes[0][1])  # the base view is a square with no separators
    return [(base, base), *shapes[1:]]


def _pack(
    core: Any, arguments: Mapping[str, Any], parts: list[Tensor], newline: Tensor
) -> list[Tensor]:
    """The model's packing of parts of images; what else it takes is the model's own."""
    chosen = {
        "vision_feature_select_strategy": "full",  # [CLS] is out already
        "vision_aspect_ratio": arguments.get("vision_aspect_ratio")
        or getattr(core.config, "vision_aspect_ratio", None),
    }
    taken = inspect.signature(core.pack_image_features).parameters
    more = {name: value for name, value in chosen.items() if name in taken}
    packed = core.pack_image_features(
        parts, arguments["image_sizes"], image_newline=newline, **more
    )[0]
    return list(packed)


def _grids_of_tiles(core: Any, arguments: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Of each image; of several in a sample, where they are counted, each has its base view only."""
    counts, sizes = arguments.get("batch_num_images"), arguments["image_sizes"]
    tiled = [True] * len(sizes)
    if counts is not None:
        tiled = [int(count) == 1 for count in counts for _ in range(int(count))]
    return [
        grid_of(core.config, size) if has_tiles else (0, 0)
        for size, has_tiles in zip(sizes, tiled, strict=True)
    ]


def grid_of(config: Any, size: Any) -> tuple[int, int]:
    """Rows and columns of an image's tiles."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    return get_anyres_image_grid_shape(
        size, config.image_grid_pinpoints, config.vision_config.image_size
    )


def _views(grid: tuple[int, int], side: int) -> Float[Tensor, "views patches 3"]:
    """(kind, tile row, tile column) of every patch of the base view and the tiles.

    Resampling may blend neighbouring tiles: rows and columns then round to one of the two.
    """
    rows, columns = grid
    tiles = [(TILE, float(row), float(column)) for row in range(rows) for column in range(columns)]
    labels = torch.tensor([(BASE, 0.0, 0.0), *tiles])
    return labels[:, None].expand(-1, side * side, -1)
