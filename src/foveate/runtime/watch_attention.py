"""Watch a layer's queries and keys while SDPA, flash or eager attention does its usual work.

The model's attention implementation is replaced by one of the same kind that first shows query and key to
the layer's watchers. This uses transformers' own seam (AttentionInterface): nothing is recomputed and
nothing else changes. Flash attention looks up its kernels by the name in its module's config, so it runs
on a view of the module whose config still has the original name.
"""

import copy
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from foveate.errors import UnsupportedError

PREFIX = "foveate_"
BY_FUNCTION = ("eager", "sdpa")  # do not look at the name in their module's config
# query, key, value -> (B, N, H, d), as the model's attention computes it
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
# in its place: the model's attention, and what it would be called with
Rearranged = Callable[[Attend, Tensor, Tensor, Tensor], Tensor]
# query, key, scaling -> what is added to the attention logits, what attends in their place, or None
Watcher = Callable[[Tensor, Tensor, float | None], Tensor | Rearranged | None]

_watchers: dict[int, tuple[Watcher, ...]] = {}  # by attention module
_users: Counter[int] = Counter()  # config -> contexts open on it
_stock: dict[int, Any] = {}  # config -> its attention implementation before
_lock = threading.Lock()


@contextmanager
def watch(config: Any, watchers: Mapping[nn.Module, Watcher]) -> Iterator[None]:
    """While open, each attention module's query and key are shown to its watcher, on every thread.

    Args:
        config: the config that all these attention modules share.
        watchers: attention module -> called with query (B, H, N, d), key (B, Hkv, K, d), scaling; returns
            what is added to the logits, a function that attends otherwise, or None.

    Raises:
        UnsupportedError: the attention implementation does not go through transformers' interface.
    """
    with _lock:
        _put_in(config)
        _users[id(config)] += 1
        for module, watcher in watchers.items():
            _watchers[id(module)] = (*_watchers.get(id(module), ()), watcher)
    try:
        yield
    finally:
        with _lock:
            for module, watcher in watchers.items():
                left = tuple(other for other in _watchers.pop(id(module)) if other is not watcher)
                if left:
                    _watchers[id(module)] = left
            _users[id(config)] -= 1
            if not _users[id(config)]:
                del _users[id(config)]
                if config._attn_implementation.startswith(PREFIX):  # else it was changed inside
                    config._attn_implementation = _stock[id(config)]._attn_implementation
                del _stock[id(config)]


def keep_watching(config: Any) -> None:
    """Keep watching after another attention implementation was set.

    Raises:
        UnsupportedError: it does not go through transformers' interface.
    """
    if _users[id(config)] and not config._attn_implementation.startswith(PREFIX):
        with _lock:
            _put_in(config)


def _put_in(config: Any) -> None:
    """Set a config's attention implementation to its watched twin."""
    if not config._attn_implementation.startswith(PREFIX):
        name = _watched(config._attn_implementation)
        _stock[id(config)] = copy.copy(config)
        config._attn_implementation = name


def _watched(kind: str) -> str:
    """Name of the watched twin of an attention implementation, registered on first use."""
    if kind != "eager" and kind not in ALL_ATTENTION_FUNCTIONS:
        raise UnsupportedError(
            f"cannot score under attention {kind!r}; works: eager, sdpa, flash_attention_*"
        )

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None,
        *others: Any, **options: Any,
    ) -> Any:  # fmt: skip
        rearranged = None
        for watcher in _watchers.get(id(module), ()):
            given = watcher(query, key, options.get("scaling"))
            if callable(given):
                rearranged = _of_any_length(kind, given)
            else:
                attention_mask = _with_added(kind, attention_mask, given)
        if kind not in BY_FUNCTION:
            module = copy.copy(module)
            module.config = _stock.get(id(module.config), module.config)
        attention = _attention(kind, module)

        def stock(*heads: Tensor) -> Any:
            return attention(module, *heads, attention_mask, *others, **options)

        if rearranged is None:
            return stock(query, key, value)
        return rearranged(lambda *heads: stock(*heads)[0], query, key, value), None

    AttentionInterface.register(PREFIX + kind, attend)
    if kind in ALL_MASK_ATTENTION_FUNCTIONS:  # without it no mask is handed over
        AttentionMaskInterface.register(PREFIX + kind, ALL_MASK_ATTENTION_FUNCTIONS[kind])
    return PREFIX + kind


def _of_any_length(kind: str, rearranged: Rearranged) -> Rearranged:
    """The same, where the attention implementation takes any number of queries for any of keys.

    Raises:
        UnsupportedError: one that is told beforehand how long its sequences are.
    """
    if kind not in BY_FUNCTION:
        raise UnsupportedError(
            f"attention {kind!r} cannot attend to patches that are reused; works: sdpa, eager"
        )
    return rearranged


def _with_added(kind: str, mask: Tensor | None, added: Tensor | None) -> Tensor | None:
    """A mask with something added to the logits that it lets through.

    Raises:
        UnsupportedError: an attention implementation that takes no such mask.
    """
    if added is None:
        return mask
    if kind not in BY_FUNCTION:
        raise UnsupportedError(
            f"attention {kind!r} cannot weigh merged patches by their size; works: sdpa, eager"
        )
    if mask is None:
        return added
    return added.where(mask, -torch.inf) if mask.dtype == torch.bool else mask + added


def _attention(kind: str, module: nn.Module) -> Callable[..., Any]:
    """The implementation behind a name; "eager" is a function of the modelling file itself."""
    if kind == "eager":
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[kind]
