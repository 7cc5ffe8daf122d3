"""The pixels that each row of a vision tower is made of, clip by clip.

| tower | pixels | a row |
| --- | --- | --- |
| of pictures in a batch | (pictures, channels, height, width) | a patch, row by row of the picture |
| of pictures on a grid (`..._grid_thw`) | (patches, numbers) | a patch, token by token, or by windows |
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models.groups import patch_grids, pixels_of
from foveate.models.towers import tower_of


@dataclass(frozen=True)
class Clip:
    """A clip, or a picture, which is one of one frame.

    Attributes:
        patches: (F, P, C), pixels of each frame's patches, row by row.
        grid: rows and columns of these.
        places: (P,), the patch of each row that the tower computes of a frame.
    """

    patches: Float[Tensor, "F P C"]
    grid: tuple[int, int]
    places: Int[Tensor, " P"]


def clips_of(core: Any, modality: str, arguments: Mapping[str, Any], pixels: Tensor) -> list[Clip]:
    """The clips and pictures that a tower is handed.

    Args:
        core: the model without its head.
        modality: "image" or "video".
        arguments: of the core's `get_image_features` or `get_video_features`.
        pixels: what the tower gets.

    Raises:
        UnsupportedError: pixels laid out in another way than in the table.
    """
    grids = patch_grids(modality, arguments)
    if grids is not None:
        return list(_on_grid(core, pixels.flatten(1), grids.tolist()))
    if pixels.dim() != 4:
        raise UnsupportedError(
            "patches that did not change are found in pixels (pictures, channels, height, width) or on a "
            f"grid, got {tuple(pixels.shape)}"
        )
    given, frames = arguments.get(pixels_of(modality)), 1
    if modality == "video" and isinstance(given, Tensor) and given.dim() == 5:
        frames = len(pixels) // len(given)
    return list(_in_batch(core, pixels, frames))


def _in_batch(core: Any, pixels: Float[Tensor, "I C h w"], frames: int) -> Iterator[Clip]:
    size = core.config.vision_config.patch_size
    high, wide = (size, size) if isinstance(size, int) else size
    grid = pixels.shape[2] // high, pixels.shape[3] // wide
    cut = pixels[:, :, : grid[0] * high, : grid[1] * wide]
    split = cut.unflatten(3, (grid[1], wide)).unflatten(2, (grid[0], high))
    patches = split.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    places = torch.arange(patches.shape[1], device=pixels.device)
    for clip in patches.split(frames):
        yield Clip(clip, grid, places)


def _on_grid(core: Any, rows: Float[Tensor, "N C"], grids: Sequence[list[int]]) -> Iterator[Clip]:
    joined, start = core.config.vision_config.spatial_merge_size, 0
    for steps, high, wide in grids:
        frames = rows[start : start + steps * high * wide].unflatten(0, (steps, high * wide))
        start += steps * high * wide
        every = torch.arange(high * wide, device=rows.device)
        blocks = every.view(high // joined, joined, wide // joined, joined)
        places = blocks.transpose(1, 2).reshape(-1, joined**2)  # of the patches, token by token
        patches = frames[:, places.flatten().argsort()]
        order = _by_windows(core, (high, wide), joined)
        places = places if order is None else places[order.to(places.device)]
        yield Clip(patches, (high, wide), places.flatten())


def _by_windows(core: Any, grid: tuple[int, int], joined: int) -> Int[Tensor, " V"] | None:
    """The order in which a tower with windows computes the tokens of a frame."""
    tower = tower_of(core)
    window = getattr(tower, "window_size", None)
    if window is None:
        return None
    from transformers.vision_utils import get_vision_window_index

    order, _ = get_vision_window_index(
        torch.tensor([[1, *grid]]),
        spatial_merge_size=joined,
        window_size=window,
        patch_size=tower.patch_size,
    )
    return order


def first_alike(clips: Sequence[Clip]) -> list[int]:
    """For each clip the first one with the very same pixels; itself if there is none before."""
    sums = torch.stack([clip.patches.double().sum() for clip in clips]).tolist()
    first: list[int] = []
    for number, clip in enumerate(clips):
        alike = (
            other
            for other in range(number)
            if first[other] == other
            and sums[other] == sums[number]
            and torch.equal(clips[other].patches, clip.patches)
            and clips[other].grid == clip.grid
        )
        first.append(next(alike, number))
    return first
