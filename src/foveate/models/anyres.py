"""Images of any resolution as a base view and a grid of tiles, with row separators between them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.tiny import Picture, noise, stacked

BASE, TILE, SEPARATOR = 0.0, 1.0, 2.0

# (labels of each image, their sizes, label of a separator) -> packed labels
Pack = Callable[[list[Tensor], Any, Tensor], list[Tensor]]


def image_groups(config: Any, sizes: Any, tiled: list[bool], pack: Pack) -> list[Int[Tensor, " _"]]:
    """Base view, each tile, and the row separators of an image are groups of their own.

    The model's own packing is run on labels in place of features, so that padding, resampling and
    separators fall where they fall for the real ones.

    Args:
        config: of the whole model.
        sizes: (images, 2), height and width of each image.
        tiled: for each image whether it has tiles beside its base view.
        pack: the model's packing.
    """
    side = config.vision_config.image_size // config.vision_config.patch_size
    labels = [_views(grid, side) for grid in _grids_of_tiles(config, sizes, tiled)]
    packed = pack(labels, sizes, torch.tensor([SEPARATOR, 0.0, 0.0]))
    return [image.round().long().unique(dim=0, return_inverse=True)[1] for image in packed]


def pack_image_patches(
    config: Any, sizes: Any, tiled: list[bool], pack: Pack, patches: Float[Tensor, "I P C"]
) -> Float[Tensor, "V C"]:
    """The values of the patches of all views, packed as features are; 0 at separators."""
    views = [1 + rows * columns for rows, columns in _grids_of_tiles(config, sizes, tiled)]
    separator = patches.new_zeros(patches.shape[-1])
    return torch.cat(list(pack(list(patches.split(views)), sizes, separator)))


def image_grids(groups: Int[Tensor, " n"]) -> list[tuple[int, int]]:
    """Rows and columns of the base view, each tile, and the separators, which are one column."""
    labels, runs = groups.unique_consecutive(return_counts=True)
    shapes = [
        (int((labels == g).sum()), int(runs[labels == g][0])) for g in range(int(labels.max()) + 1)
    ]
    base = math.isqrt(shapes[0][1])  # the base view is a square with no separators
    return [(base, base), *shapes[1:]]


def _grids_of_tiles(config: Any, sizes: Any, tiled: list[bool]) -> list[tuple[int, int]]:
    return [
        grid_of(config, size) if has_tiles else (0, 0)
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


PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112]]
# height and width of an image, and its tokens after the base view: rows x (columns + 1) of the grid
TINY_SHAPES = (((112, 112), 8 * 9), ((40, 112), 2 * 9), ((112, 56), 8 * 5), ((56, 112), 4 * 9))


def anyres_picture(config: Any, size: int) -> Picture:
    """An image of one of four shapes, the second with padding cut off; 16 tokens a view."""
    shape, tokens = TINY_SHAPES[size % len(TINY_SHAPES)]
    rows, columns = grid_of(config, shape)
    tensors = {
        "pixel_values": noise(1, 1 + rows * columns, 3, 56, 56, seed=size),
        "image_sizes": torch.tensor([shape]),
    }
    return Picture([config.image_token_id] * (16 + tokens), tensors)


def anyres_batch(samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
    """Images padded to the most tiles, as the processors do; the rest one after another."""
    return stacked(samples, {"pixel_values": [1]})
