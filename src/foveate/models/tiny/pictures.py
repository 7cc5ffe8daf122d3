"""How pictures of noise are laid out for tiny models: as their processors would hand them over.

Each function here makes a `Draw`, which is handed the tiny model's config, the placeholder and a size
from 0, and makes a `Picture`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from foveate.models.tiny import TINY_END, TINY_START, Picture, noise, padded

Draw = Callable[[Any, int, int], Picture]

BREAK = 124  # stands between rows of tokens
STAMP = 9  # stands for a timestamp's text
SHAPES = ((6, 8), (4, 5), (7, 4))  # rows and columns of tokens, where pictures may have any
PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112]]
# height and width of an image, and its tokens after the base view: rows x (columns + 1) of the grid
TILED = (((112, 112), 8 * 9), ((40, 112), 2 * 9), ((112, 56), 8 * 5), ((56, 112), 4 * 9))


def square(side: int, tokens: int) -> Draw:
    """Images of one size, whatever is asked."""
    return lambda config, placeholder, size: Picture(
        [placeholder] * tokens, {"pixel_values": noise(1, 3, side, side, seed=size)}
    )


def wrapped(draw: Draw) -> Draw:
    """The same with a start and an end around its tokens."""

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        picture = draw(config, placeholder, size)
        return Picture([TINY_START, *picture.ids, TINY_END], picture.tensors)

    return drawn


def tiles(side: int, tokens: int) -> Draw:
    """Images of 1 to 3 tiles, each wrapped on its own."""

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        count = 3 - size % 3
        ids = [TINY_START, *[placeholder] * tokens, TINY_END]
        return Picture(ids * count, {"pixel_values": noise(count, 3, side, side, seed=size)})

    return drawn


def tiles_of_sample(samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
    """(B, most tiles, 3, H, W), missing tiles black."""
    drawn = [[p.tensors["pixel_values"] for p in sample] for sample in samples]
    if not any(drawn):
        return {}
    empty = next(part for sample in drawn for part in sample)[:0]
    rows = [torch.cat([empty, *sample]) for sample in drawn]
    return {"pixel_values": torch.stack(padded(rows, [0]))}


def anyres(config: Any, placeholder: int, size: int) -> Picture:
    """Images of one of four shapes, the second with padding cut off; 16 tokens a view."""
    from foveate.models.anyres import grid_of

    shape, tokens = TILED[size % len(TILED)]
    views = 1 + math.prod(grid_of(config, shape))
    pixels = noise(1, views, 3, 56, 56, seed=size)
    tensors = {"pixel_values": pixels, "image_sizes": torch.tensor([shape])}
    return Picture([placeholder] * (16 + tokens), tensors)


def one_view(config: Any, placeholder: int, size: int) -> Picture:
    """Images of one view of 16 tokens."""
    tensors = {
        "pixel_values": noise(1, 1, 3, 56, 56, seed=size),
        "image_sizes": torch.tensor([(56, 56)]),
    }
    return Picture([placeholder] * 16, tensors)


def frames(count: int, side: int, tokens: int, separators: int = 0) -> Draw:
    """Clips of frames of one size."""
    return lambda config, placeholder, size: Picture(
        [placeholder] * (count * tokens + separators),
        {"pixel_values_videos": noise(1, count, 3, side, side, seed=size)},
    )


def slices(kind: str) -> Draw:
    """Images with 0 to 2 slices of other shapes, clips of 4 frames, all as one row of patches.

    Args:
        kind: "image" or "video".
    """
    ending = "" if kind == "image" else "_videos"

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        count = 2 - size % 3 if kind == "image" else 3
        shapes = [SHAPES[size % 3]] + [SHAPES[(size + (kind == "image")) % 3]] * count
        patch = config.vision_config.patch_size
        runs = [[TINY_START, *[placeholder] * (rows * wide), TINY_END] for rows, wide in shapes]
        patches = sum(16 * rows * wide for rows, wide in shapes)
        tensors = {
            f"pixel_values{ending}": noise(1, 3, patch, patches * patch, seed=size),
            f"target_sizes{ending}": 4 * torch.tensor(shapes, dtype=torch.int32),
        }
        return Picture([token for run in runs for token in run], tensors)

    return drawn


def patches_in_a_row(samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
    """Pixels of all pictures along their last dimension, their sizes along the first."""
    pictures = [picture.tensors for sample in samples for picture in sample]
    return {
        name: torch.cat([p[name] for p in pictures if name in p], -1 if "pixel" in name else 0)
        for name in dict.fromkeys(name for picture in pictures for name in picture)
    }


def views(side: int, tokens: int, local: tuple[int, int], *, separator: bool = False) -> Draw:
    """Images of 2, 1 or 0 local tiles and a global view.

    Args:
        side: of the global view, in pixels.
        tokens: of it.
        local: the same of a tile.
        separator: whether a token is behind them; without, each is wrapped on its own.
    """

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        count = 2 - size % 3
        around = ([], []) if separator else ([TINY_START], [TINY_END])
        runs = [[placeholder] * n for n in [local[1]] * count + [tokens + separator]]
        tensors = {
            "pixel_values": noise(1, 3, side, side, seed=size),
            "num_local_patches": torch.tensor([count]),
        }
        if count:
            tensors["pixel_values_local"] = noise(count, 3, local[0], local[0], seed=size + 1)
        return Picture([t for run in runs for t in (*around[0], *run, *around[1])], tensors)

    return drawn


def rows_with_breaks(config: Any, placeholder: int, size: int) -> Picture:
    """Images of three shapes, a token for 28 x 28 pixels, a break after each row but the last."""
    rows, columns = SHAPES[size % 3]
    row = [placeholder] * columns
    ids = [*row, BREAK] * (rows - 1) + [*row, TINY_END]
    height, width = 28 * rows, 28 * columns
    tensors = {
        "pixel_values": noise(1, 3, height, width, seed=size),
        "image_sizes": torch.tensor([[height, width]]),
    }
    return Picture(ids, tensors)


def patches_of_shape(config: Any, placeholder: int, size: int) -> Picture:
    """Images of three shapes in patches row by row, 2 x 2 of them a token; smaller ones are padded."""
    rows, columns = SHAPES[size % 3]
    count, shape = 4 * rows * columns, _patch_shape(config.vision_config, flat=True)
    tensors = {
        "pixel_values": noise(1, count, *shape, seed=size),
        "pixel_attention_mask": torch.ones(1, count, dtype=torch.int32),
        "spatial_shapes": torch.tensor([[2 * rows, 2 * columns]]),
    }
    return Picture([placeholder] * (rows * columns), tensors)


def on_grid(
    kind: str,
    layout: Callable[[int, int, int], list[int]],
    *,
    flat: bool = True,
    merged: int = 1,
) -> Draw:
    """Images of three shapes and clips of 4 and 6 time steps, in patches on a grid.

    Args:
        kind: "image" or "video".
        layout: the tokens of (placeholder, time steps, tokens of each).
        flat: whether a patch is a row of numbers, with its frames; else a small picture.
        merged: time steps of a clip that are joined in one token.
    """
    pixels = "pixel_values" if kind == "image" else "pixel_values_videos"

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        rows, columns = SHAPES[size % 3]
        steps = 1 if kind == "image" else (4, 6)[size % 2]
        shape = _patch_shape(config.vision_config, flat=flat)
        merge = getattr(config.vision_config, "spatial_merge_size", 2)
        count = merge**2 * steps * rows * columns
        grid = torch.tensor([[steps, merge * rows, merge * columns]])
        shown = steps if kind == "image" else steps // merged
        ids = layout(placeholder, shown, rows * columns)
        return Picture(ids, {pixels: noise(count, *shape, seed=size), f"{kind}_grid_thw": grid})

    return drawn


def timed(draw: Draw) -> Draw:
    """The same clips with the seconds that a time step takes."""

    def drawn(config: Any, placeholder: int, size: int) -> Picture:
        clip = draw(config, placeholder, size)
        seconds = torch.tensor([0.5 + size % 2])
        return Picture(clip.ids, {**clip.tensors, "video_second_per_grid": seconds})

    return drawn


def _patch_shape(vision: Any, *, flat: bool) -> tuple[int, ...]:
    """Of one patch."""
    channels = getattr(vision, "in_channels", getattr(vision, "num_channels", 3))
    side, frames = vision.patch_size, getattr(vision, "temporal_patch_size", 1)
    return (channels * frames * side**2,) if flat else (channels, side, side)


def wrapped_steps(placeholder: int, steps: int, tokens: int) -> list[int]:
    """All time steps together, wrapped."""
    return [TINY_START, *[placeholder] * (steps * tokens), TINY_END]


def averaged_steps(placeholder: int, steps: int, tokens: int) -> list[int]:
    """A clip has as many tokens as one time step."""
    return wrapped_steps(placeholder, 1, tokens)


def stamped_steps(placeholder: int, steps: int, tokens: int) -> list[int]:
    """Each time step is wrapped on its own, a clip's steps behind a timestamp."""
    step = [TINY_START, *[placeholder] * tokens, TINY_END]
    return step if steps == 1 else [STAMP, *step] * steps
