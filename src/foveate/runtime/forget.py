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
    keep: list[Tensor | None] = []
    held = [rows_held(layer) for layer in cache.layers]
    made: dict[int, tuple[Tensor, Tensor | None]] = {}  # layers of the same rows share them
    for layer, shown in zip(cache.layers, shown_rows(cache), strict=True):
        if shown is None:
            keep.append(None)
            continue
        if id(shown) not in made:
            stays = stays_within(shown.cpu(), most)
            made[id(shown)] = shown, None if bool(stays.all()) else stays.nonzero()[:, 0]
        keep.append(made[id(shown)][1])
        if keep[-1] is not None:
            _keep_rows(layer, keep[-1])
    state = state_of(cache)
    assert state is not None
    state.drop(keep, held)


def shown_rows(cache: Any) -> list[Int[Tensor, " _"] | None]:
    """For each layer of a reduced cache of one sample, whose visual tokens the rows that it holds are.

    Returns:
        The number of the prompt, -1 for text; None for a layer that holds no rows.
    """
    state = state_of(cache)
    if state is None or state.shown is None:
        return [None] * len(cache.layers)
    made: dict[tuple[int, int, int], Tensor] = {}  # layers of the same rows share them
    shown = []
    for number, layer in enumerate(cache.layers):
        length, held = state.lengths[number], rows_held(layer)
        alike = id(state.shown.prompt[number]), length, held
        if held and alike not in made:
            made[alike] = state.shown.of_rows(number, length, held)[0]
        shown.append(made[alike] if held else None)
    return shown


def rows_held(layer: Any) -> int:
    """Rows whose keys a layer of a cache holds: all that it has computed, or the last."""
    return layer.keys.shape[-2] if holds_rows(layer) and layer.is_initialized else 0


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
