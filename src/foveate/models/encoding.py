"""Watching what the vision side made: the groups of every image's or clip's features.

`get_image_features` and `get_video_features` are where every family encodes, be it inside `forward` or,
as `generate` does, before it. For the length of a `with` they are wrapped on the one model object; the
wrapper adds a note to what they return and changes nothing.
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

from foveate.errors import UnsupportedError

MODALITIES = ("image", "video")
NOTE = "foveate_note"
CHARGE = "foveate_charge"  # on an encoding, the FLOPs that reading the question took


@dataclass(frozen=True)
class Encoded:
    """Note on one call's features.

    Attributes:
        pooled: what was returned: one (n, D) tensor an image, or (clips, n, D) for clips of one shape.
        groups: for each image or clip the (n,) tile or frame numbers of its tokens, from 0.
        encoder: features and keys before the projector, each (images, patches, E), where asked for.
        known: for each image or clip what the encoder knows of its tokens, (n, ...), where asked for.
        grids: for each image or clip the rows and columns of its groups, where asked for.
        flops: spent on what is known.
        seconds: what encoding took.
        question_flops: what the LLM spent on the question beforehand, for a learned compressor.
    """

    pooled: Tensor | Sequence[Tensor]
    groups: Sequence[Int[Tensor, " _"]]
    encoder: Mapping[str, Tensor]
    known: Mapping[str, Sequence[Tensor]]
    grids: Sequence[Sequence[tuple[int, int]]]
    flops: int
    seconds: float
    question_flops: int

    def items(self, pooled: Tensor | Sequence[Tensor]) -> list[int]:
        """Which encoded image or clip each entry of `pooled` is: `generate` repeats them for beams."""
        if isinstance(pooled, Tensor):  # clips of one shape, copied when repeated
            if len(pooled) == len(self.pooled):
                return list(range(len(pooled)))
            return [
                next(n for n, own in enumerate(self.pooled) if torch.equal(own, clip))
                for clip in pooled
            ]
        known = {id(entry): item for item, entry in enumerate(self.pooled)}
        return [known[id(entry)] for entry in pooled]


def note_of(output: Any) -> Encoded:
    """The note on an encoding.

    Raises:
        UnsupportedError: it was made outside of the reduce().
    """
    note = getattr(output, NOTE, None)
    if note is None:
        raise UnsupportedError(
            "pictures must be encoded inside reduce(); pass pixels, not features"
        )
    return note


Watcher = Callable[[str, Callable[[], Any], Mapping[str, Any]], Any]  # modality, encode, arguments

_watchers: dict[tuple[int, int], Watcher] = {}  # (thread, core)
_users: Counter[int] = Counter()  # core -> contexts open on it
_own: dict[int, dict[str, Any]] = {}  # core -> methods that its owner had set on the instance
_lock = threading.Lock()


@contextmanager
def watch_encoding(core: nn.Module, watcher: Watcher) -> Iterator[None]:
    """While open, encodings on this thread go through `watcher(modality, encode, arguments)`."""
    key = (threading.get_ident(), id(core))
    names = [f"get_{modality}_features" for modality in MODALITIES]
    names = [name for name in names if hasattr(core, name)]
    with _lock:
        _users[id(core)] += 1
        if _users[id(core)] == 1:
            _own[id(core)] = {name: core.__dict__[name] for name in names if name in core.__dict__}
            core.__dict__.update({name: _watched(core, name) for name in names})
    _watchers[key] = watcher
    try:
        yield
    finally:
        del _watchers[key]
        with _lock:
            _users[id(core)] -= 1
            if not _users[id(core)]:
                del _users[id(core)]
                for name in names:
                    del core.__dict__[name]
                core.__dict__.update(_own.pop(id(core)))


def _watched(core: nn.Module, name: str) -> Callable[..., Any]:
    original = getattr(core, name)
    modality = name.split("_")[1]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def encode(*args: Any, **kwargs: Any) -> Any:
        key = (threading.get_ident(), id(core))
        watcher = _watchers.pop(key, None)  # one method may call the other: only the outer is noted
        if watcher is None:
            return original(*args, **kwargs)
        try:
            arguments = dict(signature.bind(*args, **kwargs).arguments)
            if modality == "video" and "pixel_values" in arguments:  # as transformers 5.17 has it
                arguments["pixel_values_videos"] = arguments.pop("pixel_values")
            return watcher(modality, lambda: original(*args, **kwargs), arguments)
        finally:
            _watchers[key] = watcher

    return encode
