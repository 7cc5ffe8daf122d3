"""Images as local tiles and one global view (`pixel_values_local`, `num_local_patches`)."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.errors import UnsupportedError


def are_given(arguments: Mapping[str, Any]) -> bool:
    """Whether an encoder was told how many local tiles each image has.

    Args:
        arguments: of the core's `get_image_features`.
    """
    return arguments.get("num_local_patches") is not None


def groups_of_views(
    core: Any, arguments: Mapping[str, Any], tokens: list[int]
) -> list[Int[Tensor, " _"]]:
    """The local tiles of each image, its global view, and a separator, where the model has one.

    Args:
        core: the model without its head.
        arguments: of the core's `get_image_features`.
        tokens: of each image.

    Raises:
        UnsupportedError: views that have no tokens in proportion to their pixels.
    """
    counts = [int(count) for count in arguments["num_local_patches"]]
    local, area = arguments.get("pixel_values_local"), _area(arguments["pixel_values"])
    small = area if local is None else _area(local)
    over = int(hasattr(core, "view_separator"))
    return [
        _groups(n, [small] * count + [area], over) for n, count in zip(tokens, counts, strict=True)
    ]


def _area(pixels: Tensor) -> int:
    return pixels.shape[-1] * pixels.shape[-2]


def _groups(tokens: int, pixels: list[int], over: int) -> Int[Tensor, " _"]:
    """Of one image: views of so many pixels, and separators."""
    whole = sum(pixels)
    if any((tokens - over) * part % whole for part in pixels):
        raise UnsupportedError(
            f"{tokens} visual tokens are not {len(pixels) - 1} local tiles and a global view, each with "
            "tokens in proportion to its pixels; a Family of this model must say its groups: see "
            "docs/guides/new-family.md"
        )
    sizes = [(tokens - over) * part // whole for part in pixels] + [1] * over
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
