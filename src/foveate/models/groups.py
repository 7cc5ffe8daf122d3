"""Which tile or frame a visual token belongs to, told by the names of what the encoder is given.

| given | groups |
| --- | --- |
| the model's own packing (`pack_image_features`) | base view, each tile, separators |
| `image_grid_thw`, `video_grid_thw` | time steps |
| `num_frames_per_video` | frames |
| `num_local_patches` | local tiles, the global view |
| pixels of 5 dimensions | tiles or frames |
| anything else | an entry of the features is one group |

One token over is a separator, a group of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models import anyres, towers, views

Arguments = Mapping[str, Any]
Groups = Sequence[Int[Tensor, " _"]]
Shape = tuple[int, int]


def groups_of(
    core: Any, modality: str, arguments: Arguments, pooled: Tensor | Sequence[Tensor]
) -> list[Int[Tensor, " _"]]:
    """The group of each token of each entry; arguments as of `Family.groups`.

    Raises:
        UnsupportedError: an entry is not as many equal groups as there are tiles or frames.
    """
    if _is_packed_by_model(core, modality, arguments):
        return anyres.image_groups(core, arguments)
    tokens = [entry.shape[:-1].numel() for entry in pooled]
    if views.are_given(arguments):
        return views.groups_of_views(core, arguments, tokens)
    counts = _counts(core, modality, arguments, len(pooled))
    return [equal_groups(n, count) for n, count in zip(tokens, counts, strict=True)]


def equal_groups(tokens: int, count: int) -> Int[Tensor, " _"]:
    """So many tokens in `count` groups of one size; one over is a separator.

    Raises:
        UnsupportedError: more are over.
    """
    each, over = divmod(tokens, count)
    if over > 1:
        raise UnsupportedError(
            f"{tokens} visual tokens are no {count} tiles or frames of one size; a Family of this "
            "model must say its groups: see docs/guides/new-family.md"
        )
    labels = torch.arange(count).repeat_interleave(each)
    return F.pad(labels, (0, over), value=count)


def steps_of_a_token(core: Any, modality: str) -> int:
    """Time steps of a clip that are joined in one token behind the encoder."""
    joined = getattr(core.config.vision_config, "temporal_merge_size", None) or 1
    return joined if modality == "video" else 1


def _counts(core: Any, modality: str, arguments: Arguments, entries: int) -> list[int]:
    """Groups of each entry."""
    grids = patch_grids(modality, arguments)
    if grids is not None:
        if _pools_time(core):
            return [1] * entries
        return (grids[:, 0] // steps_of_a_token(core, modality)).tolist()
    if arguments.get("num_frames_per_video") is not None:
        return [int(count) for count in arguments["num_frames_per_video"]]
    pixels = arguments.get(pixels_of(modality))
    if isinstance(pixels, Tensor) and pixels.dim() == 5 and len(pixels) == entries:
        return [pixels.shape[1]] * entries
    return [1] * entries


def pixels_of(modality: str) -> str:
    """What processors call the pixels of a modality."""
    return "pixel_values" if modality == "image" else "pixel_values_videos"


def patch_grids(modality: str, arguments: Arguments) -> Int[Tensor, "pictures 3"] | None:
    """Time steps, rows and columns of the patches of each image or clip; None if not given."""
    names = (f"{modality}_grid_thw", "image_grid_thw")
    return next((arguments[name] for name in names if arguments.get(name) is not None), None)


def real_patches(modality: str, arguments: Arguments) -> Bool[Tensor, "I P"] | None:
    """Which patches of a batch of images or frames are no padding; None where all are."""
    places = arguments.get(f"{modality}_position_ids")
    return None if places is None else (places >= 0).all(-1).flatten(0, -2)


def patch_shapes(modality: str, arguments: Arguments) -> list[Shape] | None:
    """Rows and columns of the patches of each tile or frame, where these are given."""
    names = ("target_sizes", "spatial_shapes") if modality == "image" else ("target_sizes_videos",)
    sizes = next((arguments[name] for name in names if arguments.get(name) is not None), None)
    return None if sizes is None else [(rows, columns) for rows, columns in sizes.tolist()]


def packed(core: Any, modality: str, arguments: Arguments) -> list[int] | None:
    """Patches of each sequence that the encoder computes beside others in one; None for a batch."""
    grids = patch_grids(modality, arguments)
    if grids is not None and _pools_time(core):
        return grids.prod(1).tolist()
    if grids is not None:
        return [rows * columns for steps, rows, columns in grids.tolist() for _ in range(steps)]
    if _packs_sizes(core):
        return [rows * columns for rows, columns in _sized(core, arguments)]
    return None


def grids_of(core: Any, modality: str, arguments: Arguments, groups: Groups) -> list[list[Shape]]:
    """Rows and columns of each group of each entry: squares, unless sizes are given.

    Raises:
        UnsupportedError: a group is no square.
    """
    if _is_packed_by_model(core, modality, arguments):
        return [anyres.image_grids(entry) for entry in groups]
    grids = patch_grids(modality, arguments)
    if grids is not None:
        counts = _counts(core, modality, arguments, len(groups))
        return [
            [_tokens_of((rows, columns), len(entry) // count)] * count
            for (_, rows, columns), count, entry in zip(grids.tolist(), counts, groups, strict=True)
        ]
    shapes = patch_shapes(modality, arguments)
    if shapes is None and _packs_sizes(core):
        shapes = _sized(core, arguments)
    if shapes is not None:
        sized = zip(shapes, groups, strict=True)
        return [[_tokens_of(shape, len(entry))] for shape, entry in sized]
    return [_square_grids(entry, core.config.model_type) for entry in groups]


def _square_grids(entry: Int[Tensor, " _"], kind: str) -> list[Shape]:
    sides = []
    for size in torch.bincount(entry).tolist():
        if math.isqrt(size) ** 2 != size:
            raise UnsupportedError(f"{kind}: a group of {size} tokens is no square grid")
        sides.append((math.isqrt(size), math.isqrt(size)))
    return sides


def _tokens_of(patches: Shape, tokens: int) -> Shape:
    """Rows and columns of tokens, each a square block of patches."""
    block = _block(math.prod(patches), tokens)
    return patches[0] // block, patches[1] // block


def _block(patches: int, tokens: int) -> int:
    return math.isqrt(patches // tokens)


def _sized(core: Any, arguments: Arguments) -> list[Shape]:
    """Rows and columns of the patches of pictures whose sizes are given."""
    patch = core.config.vision_config.patch_size
    return [(int(high) // patch, int(wide) // patch) for high, wide in arguments["image_sizes"]]


def _packs_sizes(core: Any) -> bool:
    known = towers.known_tower(core)
    return known is not None and known.packs_sizes


def _pools_time(core: Any) -> bool:
    known = towers.known_tower(core)
    return known is not None and known.pools_time


def _is_packed_by_model(core: Any, modality: str, arguments: Arguments) -> bool:
    own = hasattr(core, "pack_image_features") and hasattr(core.config, "image_grid_pinpoints")
    return modality == "image" and own and "image_sizes" in arguments


def pool_patches(
    core: Any,
    modality: str,
    arguments: Arguments,
    patches: Float[Tensor, "I P C"],
    groups: Groups,
) -> Float[Tensor, "V C"]:
    """What each visual token has of its patches' values; arguments as of `Family`."""
    if _is_packed_by_model(core, modality, arguments):
        return anyres.pack_image_patches(core, arguments, patches)
    tokens = sum(len(entry) for entry in groups)
    grids = patch_grids(modality, arguments)
    known = towers.known_tower(core)
    if grids is not None and not (
        known and known.raster
    ):  # the patches of a token follow each other
        if (joined := steps_of_a_token(core, modality)) > 1:
            return _pool_steps(patches[0], grids, tokens, joined)
        pooled = patches[0].unflatten(0, (tokens, -1)).mean(1)
        return pooled[_out_of_windows(core, grids).to(pooled.device)]
    if grids is not None:
        if _pools_time(core):
            patches, grids = _mean_of_time(patches, grids)
        shapes = [(rows, columns) for steps, rows, columns in grids.tolist() for _ in range(steps)]
        return _pool_rows(patches[0], shapes, tokens)
    if _packs_sizes(core):
        return _pool_rows(patches[0], _sized(core, arguments), tokens)
    return _pool_squares(core, modality, patches, groups)


def _mean_of_time(
    patches: Float[Tensor, "1 P C"], grids: Int[Tensor, "pictures 3"]
) -> tuple[Float[Tensor, "1 Q C"], Int[Tensor, "pictures 3"]]:
    """Patches averaged over the time steps of their clip, and what is left of the grids."""
    clips = zip(patches[0].split(grids.prod(1).tolist()), grids[:, 0].tolist(), strict=True)
    means = torch.cat([clip.unflatten(0, (steps, -1)).mean(0) for clip, steps in clips])
    return means[None], torch.cat([torch.ones_like(grids[:, :1]), grids[:, 1:]], dim=1)


def _pool_steps(
    patches: Float[Tensor, "P C"], grids: Int[Tensor, "pictures 3"], tokens: int, joined: int
) -> Float[Tensor, "V C"]:
    """A token is the patches of one place in several time steps, where they follow each other."""
    block, pooled = len(patches) // (tokens * joined), []
    clips = patches.split(grids.prod(1).tolist())
    for clip, steps in zip(clips, grids[:, 0].tolist(), strict=True):
        places = clip.unflatten(0, (steps // joined, joined, -1, block))
        pooled.append(places.mean((1, 3)).flatten(0, 1))
    return torch.cat(pooled)


def _pool_rows(
    patches: Float[Tensor, "P C"], shapes: Sequence[Shape], tokens: int
) -> Float[Tensor, "V C"]:
    """A token is a square block of patches, which stand row by row, picture by picture."""
    block, pooled = _block(len(patches), tokens), []
    images = patches.split([math.prod(shape) for shape in shapes])
    for image, shape in zip(images, shapes, strict=True):
        pooled.append(F.avg_pool2d(image.mT.unflatten(1, shape), block).flatten(1).mT)
    return torch.cat(pooled)


def _pool_squares(
    core: Any, modality: str, patches: Float[Tensor, "I P C"], groups: Groups
) -> Float[Tensor, "V C"]:
    """A token is a square block of an image's square grid, or what the model's own pooling makes.

    Separators get 0.
    """
    images, count, width = patches.shape
    separators = max(sum(int(entry.max()) + 1 for entry in groups if len(entry)) - images, 0)
    tokens = sum(len(entry) for entry in groups) - separators
    if modality == "video" and hasattr(core, "apply_pooling"):
        pooled = core.apply_pooling(patches).flatten(0, 1)
    elif images * count == tokens:
        pooled = patches.flatten(0, 1)
    else:
        side, block = math.isqrt(count), math.isqrt(images * count // tokens)
        picture = patches.mT.reshape(images, width, side, side)
        pooled = F.avg_pool2d(picture, block).flatten(2).mT.flatten(0, 1)
    if not separators:
        return pooled
    return F.pad(pooled.unflatten(0, (separators, -1)), (0, 0, 0, 1)).flatten(0, 1)


def _out_of_windows(core: Any, grids: Int[Tensor, "pictures 3"]) -> Int[Tensor, " V"]:
    """Places of the tokens in the encoder's order, where that goes window by window."""
    tower, block = towers.tower_of(core), core.config.vision_config.spatial_merge_size
    window = getattr(tower, "window_size", None)
    if window is None:
        return torch.arange(int(grids.prod(1).sum()) // block**2)
    from transformers.vision_utils import get_vision_window_index

    order, _ = get_vision_window_index(
        grids, spatial_merge_size=block, window_size=window, patch_size=tower.patch_size
    )
    return order.argsort()
