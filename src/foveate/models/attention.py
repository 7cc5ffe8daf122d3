"""Watching a layer's queries and keys while SDPA, flash or eager attention does its usual work.

The model's attention implementation is replaced by one of the same kind that first shows query and
key to whoever watches that layer on this thread. It is transformers' own seam (AttentionInterface):
nothing is recomputed and nothing else changes. The original runs on a view of its module whose config
still names it: flash attention looks up its kernels by that name.
"""

import copy
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from foveate.errors import UnsupportedError

PREFIX = "foveate_"
Watcher = Callable[[Tensor, Tensor, float | None], None]  # query, key, scaling

_watchers: dict[tuple[int, int], Watcher] = {}  # (thread, attention module)
_users: Counter[int] = Counter()  # config -> contexts open on it
_stock: dict[int, Any] = {}  # config -> what it was before
_lock = threading.Lock()


@contextmanager
def watch(config: Any, watchers: Mapping[nn.Module, Watcher]) -> Iterator[None]:
    """While open, each attention module's query and key are shown to its watcher, on this thread.

    Args:
        config: the LLM's config, which all its attention modules share.
        watchers: attention module -> called with query (B, H, N, d), key (B, Hkv, K, d), scaling.

    Raises:
        UnsupportedError: the attention implementation does not go through transformers' interface.
    """
    thread = threading.get_ident()
    keys = [(thread, id(module)) for module in watchers]
    with _lock:
        if not _users[id(config)]:
            name = _watched(config._attn_implementation)
            _stock[id(config)] = copy.copy(config)
            config._attn_implementation = name
        _users[id(config)] += 1
    _watchers.update(zip(keys, watchers.values(), strict=True))
    try:
        yield
    finally:
        for key in keys:
            _watchers.pop(key, None)
        with _lock:
            _users[id(config)] -= 1
            if not _users[id(config)]:
                del _users[id(config)]
                config._attn_implementation = _stock.pop(id(config))._attn_implementation


def _watched(kind: str) -> str:
    """Name of the watched twin of an attention implementation, registered on first use."""
    if kind != "eager" and kind not in ALL_ATTENTION_FUNCTIONS:
        raise UnsupportedError(
            f"cannot score under attention {kind!r}; works: eager, sdpa, flash_attention_*"
        )

    def attend(module: nn.Module, query: Tensor, key: Tensor, *others: Any, **options: Any) -> Any:
        watcher = _watchers.get((threading.get_ident(), id(module)))
        if watcher is not None:
            watcher(query, key, options.get("scaling"))
        own = copy.copy(module)
        own.config = _stock.get(id(module.config), module.config)
        return _attention(kind, module)(own, query, key, *others, **options)

    AttentionInterface.register(PREFIX + kind, attend)
    if kind in ALL_MASK_ATTENTION_FUNCTIONS:  # without, transformers hands it no mask
        AttentionMaskInterface.register(PREFIX + kind, ALL_MASK_ATTENTION_FUNCTIONS[kind])
    return PREFIX + kind


def _attention(kind: str, module: nn.Module) -> Callable[..., Any]:
    """The implementation behind a name; "eager" is a function of the modelling file itself."""
    if kind == "eager":
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[kind]
