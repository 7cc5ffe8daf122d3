"""A cache as plain tensors, numbers and dictionaries, and back: what a saved conversation holds."""

from typing import Any

import torch
from torch import Tensor

from foveate.runtime.columns import Columns
from foveate.runtime.reduced_cache import CacheState, Sizes, mark_reduced, state_of
from foveate.runtime.shown import Shown

PLAIN = (bool, int, float, str, torch.dtype, type(None))
PARTS = ("valid", "positions")


def cache_to_dict(cache: Any) -> dict[str, Any]:
    """What a cache holds, and what it knows of that if it is reduced.

    Returns:
        A dictionary that `torch.load(..., weights_only=True)` reads.
    """
    layers = [
        {name: value for name, value in vars(layer).items() if _is_plain(value)}
        for layer in cache.layers
    ]
    state = state_of(cache)
    return {"layers": layers, "state": None if state is None else _state_to_dict(state)}


def fill_cache(cache: Any, saved: dict[str, Any], device: torch.device) -> None:
    """Put into an empty cache of the same model what `cache_to_dict` made of one.

    Args:
        cache: see above.
        saved: see above.
        device: where the model is.
    """
    for layer, values in zip(cache.layers, saved["layers"], strict=True):
        vars(layer).update(_on(values, device))
        if hasattr(layer, "device"):
            layer.device = device
    if saved["state"] is not None:
        mark_reduced(cache, _state_of_dict(_on(saved["state"], device)))


def _is_plain(value: Any) -> bool:
    """Whether a layer's attribute is what a file holds; a device is the model's."""
    if isinstance(value, dict):
        return all(_is_plain(part) for part in value.values())
    return isinstance(value, (Tensor, *PLAIN))


def _on(value: Any, device: torch.device, made: dict[int, Tensor] | None = None) -> Any:
    """The same with its tensors on a device; what was one tensor stays one."""
    made = {} if made is None else made
    if isinstance(value, Tensor):
        return made.setdefault(id(value), value.to(device))
    if isinstance(value, dict):
        return {name: _on(part, device, made) for name, part in value.items()}
    return [_on(part, device, made) for part in value] if isinstance(value, list) else value


def _state_to_dict(state: CacheState) -> dict[str, Any]:
    state.settle()
    made: dict[int, Tensor] = {}  # layers share tensors

    def value(part: Columns | None) -> Tensor | None:
        return None if part is None else made.setdefault(id(part), part.value.clone())

    saved: dict[str, Any] = {name: list(map(value, getattr(state, name))) for name in PARTS}
    saved |= {
        "lengths": state.lengths, "offset": state.offset, "is_real": value(state.is_real),
        "takes_padding": state.takes_padding,
    }  # fmt: skip
    for name in ("sizes", "shown"):
        saved[name] = getattr(state, name) and vars(getattr(state, name))
    return saved


def _state_of_dict(saved: dict[str, Any]) -> CacheState:
    known = dict(saved)
    sizes, shown = known.pop("sizes"), known.pop("shown")
    state = CacheState(**known)
    state.sizes = sizes and Sizes(**sizes)
    state.shown = shown and Shown(**shown)
    return state
