"""Watch pictures being encoded, and note the groups and signals of their features.

`get_image_features` and `get_video_features` are where every family encodes, be it inside `forward` or,
as `generate` does, before it. For the length of a `with` they are wrapped on the one model object. Notes
are keyed by the feature tensors, not kept on the output object, because wrappers rebuild that.
"""

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from foveate.runtime.timing import Span

MODALITIES = ("image", "video")


@dataclass(frozen=True)
class Encoded:
    """What is noted about the features of one call.

    Attributes:
        groups: for each image or clip the (n,) tile or frame numbers of its tokens, from 0.
        encoder: features and keys before the projector, each (images, patches, E), if needed.
        encoder_signals: for each image or clip its tokens' attention and keys, (n, ...), if needed.
        grids: for each image or clip the rows and columns of its groups, if needed.
        flops: for each image or clip the FLOPs of these signals.
        span: when it was encoded.
        question_flops: for each question the LLM's FLOPs of reading it, for a learned compressor.
        encode_flops: for each image or clip the FLOPs of the encoder's layers that a method shortens.
        encode_flops_unreduced: of the same layers without it.
    """

    groups: Sequence[Int[Tensor, " _"]]
    encoder: Mapping[str, Tensor]
    encoder_signals: Mapping[str, Sequence[Tensor]]
    grids: Sequence[Sequence[tuple[int, int]]]
    flops: Sequence[int]
    span: Span
    question_flops: Sequence[int]
    encode_flops: Sequence[int]
    encode_flops_unreduced: Sequence[int]


Pooled = (
    Tensor | Sequence[Tensor]
)  # one (n, D) tensor an image, or (clips, n, D) for clips of one shape


class Notes:
    """Notes on all features that were encoded inside one reduce()."""

    def __init__(self) -> None:
        self._by_tensor = WeakTensorKeyDictionary()  # -> (note, which image or clip)
        self._latest = threading.local()  # by modality, of this thread: (features, note)

    def add(self, modality: str, pooled: Pooled, note: Encoded) -> None:
        """Keep a note as long as its features live, and until this thread's next encoding."""
        if isinstance(pooled, Tensor):
            self._by_tensor[pooled] = note, None
        else:
            for item, entry in enumerate(pooled):
                self._by_tensor[entry] = note, item
        setattr(self._latest, modality, (pooled, note))

    def find(self, modality: str, pooled: Pooled) -> tuple[Encoded, list[int]] | None:
        """The note on features, and which image or clip each entry is; None for unknown features.

        Entries may be repeated, as `generate` does for beams, moved to another device, or copied.
        """
        if isinstance(pooled, Tensor) and pooled in self._by_tensor:
            return self._by_tensor[pooled][0], list(range(len(pooled)))
        if not isinstance(pooled, Tensor) and all(entry in self._by_tensor for entry in pooled):
            noted = [self._by_tensor[entry] for entry in pooled]
            if noted and all(note is noted[0][0] for note, _ in noted):
                return noted[0][0], [item for _, item in noted]
        whole, note = getattr(self._latest, modality, ((), None))
        items = [_same_entry(whole, entry) for entry in pooled]
        return (
            None if note is None or None in items else (note, [n for n in items if n is not None])
        )


def _same_entry(whole: Pooled, entry: Tensor) -> int | None:
    """Which entry of `whole` this is, by its values."""
    for item, one in enumerate(whole):
        if one.shape == entry.shape and torch.equal(one, entry.to(one.device)):
            return item
    return None


# modality, encode, arguments -> what encode returns
Watcher = Callable[[str, Callable[[], Any], Mapping[str, Any]], Any]

_watchers: dict[int, tuple[Watcher, ...]] = {}  # by core
_users: Counter[int] = Counter()  # core -> contexts open on it
_own: dict[int, dict[str, Any]] = {}  # core -> methods that its owner had set on the instance
_lock = threading.Lock()
_thread = threading.local()  # the cores that are encoding on it


@contextmanager
def watch_encoding(core: nn.Module, watcher: Watcher) -> Iterator[None]:
    """While open, encodings go through `watcher(modality, encode, arguments)`, on every thread."""
    names = [f"get_{modality}_features" for modality in MODALITIES]
    names = [name for name in names if hasattr(core, name)]
    with _lock:
        _users[id(core)] += 1
        if _users[id(core)] == 1:
            _own[id(core)] = {name: core.__dict__[name] for name in names if name in core.__dict__}
            core.__dict__.update({name: _watched(core, name) for name in names})
        _watchers[id(core)] = (*_watchers.get(id(core), ()), watcher)
    try:
        yield
    finally:
        with _lock:
            _watchers[id(core)] = tuple(w for w in _watchers[id(core)] if w is not watcher)
            _users[id(core)] -= 1
            if not _users[id(core)]:
                del _users[id(core)], _watchers[id(core)]
                own = _own.pop(id(core))
                for name in names:
                    if getattr(core.__dict__.get(name), "watches", None) is core:
                        del core.__dict__[name]  # else changed or removed inside
                        core.__dict__.update({name: own[name]} if name in own else {})


def _watched(core: nn.Module, name: str) -> Callable[..., Any]:
    original = getattr(core, name)
    modality = name.split("_")[1]
    signature = inspect.signature(getattr(type(core), name))  # not a wrapper's on the instance

    @functools.wraps(original)
    def encode(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(original, *args, **kwargs)
        encoding = _thread.__dict__.setdefault("encoding", set())
        if id(core) in encoding:  # one method may call the other: only the outer call is noted
            return call()
        encoding.add(id(core))
        try:
            arguments = signature.bind(core, *args, **kwargs).arguments
            arguments = dict(list(arguments.items())[1:])
            if modality == "video" and "pixel_values" in arguments:  # as transformers 5.17 has it
                arguments["pixel_values_videos"] = arguments.pop("pixel_values")
            for watcher in _watchers.get(id(core), ()):
                call = functools.partial(watcher, modality, call, arguments)
            return call()
        finally:
            encoding.discard(id(core))

    encode.watches = core  # type: ignore[attr-defined]
    return encode
