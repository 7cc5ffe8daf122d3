"""A budget for what a cache holds of pictures: old ones give up rows, which are dropped from it."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from foveate.runtime.reduced_cache import holds_rows, state_of
from foveate.runtime.shown import TEXT


def forget_oldest(cache: Any, most: int) -> None:
    """Drop visual rows of each layer, the oldest prompt's first, until it holds no more than `most`.

    Pictures of one prompt are of one age. Of a prompt that gives up some of its rows, those stay that lie
    evenly over it, so that no part of a picture is lost before another. What is left keeps its position.

    Args:
        cache: reduced, of one sample.
        most: visual rows a layer may hold.
    """
    state = state_of(cache)
    assert state is not None
    assert state.shown is not None
    keep: list[Tensor | None] = []
    held: list[int] = []
    made: dict[tuple[int, int, int], Tensor | None] = {}  # layers of the same rows share them
    for number, layer in enumerate(cache.layers):
        rows = layer.keys.shape[-2] if holds_rows(layer) and layer.keys is not None else 0
        held.append(rows)
        length = state.lengths[number]
        alike = id(state.shown.prompt[number]), length, rows
        if alike not in made:
            shown = state.shown.of_rows(number, length, rows)[0].cpu()
            stays = stays_within(shown, most)
            made[alike] = None if bool(stays.all()) else stays.nonzero()[:, 0]
        keep.append(made[alike])
    for layer, left in zip(cache.layers, keep, strict=True):
        if left is not None:
            _keep_rows(layer, left)
    state.drop(keep, held)


def stays_within(shown: Int[Tensor, " K"], most: int) -> Bool[Tensor, " K"]:
    """Which rows stay, if no more than `most` may be visual.

    Args:
        shown: the number of the prompt that each row is a visual token of, -1 for text.
        most: see above.
    """
    stays = torch.ones_like(shown, dtype=torch.bool)
    excess = int((shown != TEXT).sum()) - most
    for prompt in shown[shown != TEXT].unique().tolist():
        if excess <= 0:
            break
        rows = (shown == prompt).nonzero()[:, 0]
        left = max(len(rows) - excess, 0)
        stays[rows] = False
        stays[rows[_evenly(len(rows), left)]] = True
        excess -= len(rows) - left
    return stays


def _evenly(count: int, left: int) -> Int[Tensor, " _"]:
    """So many places of `count`, as evenly as can be."""
    return (torch.arange(left) * 2 + 1) * count // max(2 * left, 1)


def _keep_rows(layer: Any, left: Int[Tensor, " M"]) -> None:
    """Keep some rows of a layer of a cache."""
    left = left.to(layer.keys.device)
    layer.keys, layer.values = layer.keys[..., left, :], layer.values[..., left, :]
    if hasattr(layer, "cumulative_length"):  # of a window, which counts rows that it let go
        layer.cumulative_length = len(left)
