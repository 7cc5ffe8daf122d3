"""Read pictures and clips from any source, as a viewer shows them, or raise one clear error."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveate.ask.video import SUFFIXES, frames, is_video
from foveate.cost.vision.encoder import Media
from foveate.errors import InputError
from foveate.pictures import (
    ANIMATED,
    check_size,
    decoding,
    frames_to_rgb,
    from_array,
    parts,
    standing_at,
    to_image,
    to_rgb,
)

FRAMES = 8  # frames taken from a clip by default


@dataclass(frozen=True)
class Clip:
    """Frames of a video, of one size; each is converted as by `pictures.to_rgb`.

    Raises:
        InputError: no frames, frames of different sizes, or no PIL images.
    """

    frames: Sequence[Image.Image]

    def __post_init__(self) -> None:
        kinds = [type(self.frames)]
        if isinstance(self.frames, Sequence):
            kinds = [type(frame) for frame in self.frames if not isinstance(frame, Image.Image)]
        if kinds:
            raise InputError(
                f"a clip is a list of PIL images, got {kinds[0].__name__}; Image.fromarray makes one of "
                "the bytes of a frame"
            )
        if not self.frames:
            raise InputError("the clip has no frames; at least 1 is needed")
        sizes = {frame.size for frame in self.frames}
        if len(sizes) > 1:
            raise InputError(f"a clip's frames must have one size, got {sorted(sizes)}")

    def array(self) -> np.ndarray:
        """(frames, height, width, 3) bytes."""
        shown = _clip(self.frames, range(len(self.frames)), "a Clip").frames
        return np.stack([np.asarray(frame) for frame in shown])


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` indices, evenly spread from the first to the last."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are taken.

    Attributes:
        frames: most frames, evenly spread, first and last included; 8 if no `fps` is given.
        fps: frames per second of the clip, from its first on.

    Raises:
        InputError: `frames` below 1, or `fps` not above 0.
    """

    frames: int | None = None
    fps: int | float | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise InputError(f"frames must be at least 1, got {self.frames}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise InputError(f"fps must be above 0, got {self.fps}")

    def indices(self, total: int, rate: float | None, name: str) -> list[int]:
        """Frames to take, in order.

        Args:
            total: frames of the clip.
            rate: its frames per second; None if it has no times.
            name: the clip's, for the error.

        Raises:
            InputError: `fps` for a clip that has no times.
        """
        if self.fps is None:
            return spread(total, self.frames or FRAMES)
        if not rate:
            raise InputError(f"{name} has no frame rate, so fps cannot be used; use frames")
        step = max(rate / self.fps, 1.0)  # no frame is taken twice
        timed = [int(number * step) for number in range(math.ceil(total / step))]
        return [timed[place] for place in spread(len(timed), self.frames or len(timed))]


def read(source: Any, sampling: Sampling = Sampling()) -> Image.Image | Clip:
    """A picture, or some frames of a clip, as a viewer shows them: RGB, as by `pictures.to_rgb`.

    The contents decide what a file is, not its name. GIF, WebP, PNG and AVIF of several pictures are
    clips; a camera's JPEG with a preview or a second view is one picture; a file of pages, such as a
    TIFF, is neither.

    Args:
        source: a path, a file's contents as bytes or as a file opened for reading bytes, a PIL image, an
            array or tensor (H, W, 3) or (F, H, W, 3) as `pictures.from_array` takes it, or a `Clip`.
        sampling: which frames to take from a clip.

    Raises:
        InputError: missing, empty, unreadable or gigantic; no frames; pages; or an opened animation at a
            later frame, where all frames or that one may be meant.
        MissingExtraError: a video file, and PyAV is not installed.
    """
    if isinstance(source, Clip):
        wanted = sampling.indices(len(source.frames), None, "a Clip")
        return _clip([source.frames[index] for index in wanted], wanted, "a Clip")
    if isinstance(source, Image.Image):
        return _image(source, "the picture", sampling)
    if hasattr(source, "__array__"):
        return _array(source, sampling)
    contents, name = _contents(source)
    with decoding(name):
        head = _head(contents)
    named_so = Path(name).suffix.lower() in SUFFIXES
    if is_video(head) or (named_so and not _is_picture(contents)):
        return Clip(frames(contents, name, partial(sampling.indices, name=name)))
    with decoding(name), Image.open(contents) as opened:
        return _image(opened, name, sampling)


def is_one(media: Any) -> bool:
    """Whether this is one source for `read`, not several."""
    kinds = (str, PathLike, bytes, bytearray, memoryview)
    files_and_arrays = hasattr(media, "read") or hasattr(media, "__array__")
    return isinstance(media, kinds) or files_and_arrays or not isinstance(media, Iterable)


def read_picture(source: Any) -> Image.Image:
    """A picture as by `read`.

    Raises:
        InputError: as in `read`, or a clip.
    """
    found = read(source, Sampling(1))
    if isinstance(found, Clip):
        raise InputError(f"{_named(source)} is a clip; a picture is needed here")
    return found


def looked_at(pictures: Sequence[Image.Image | Clip]) -> list[Image.Image]:
    """The pictures that the text guard looks at: all, and the first, middle and last frame of a clip."""
    looked = []
    for picture in pictures:
        if isinstance(picture, Clip):
            looked += [picture.frames[index] for index in spread(len(picture.frames), 3)]
        else:
            looked.append(picture)
    return looked


def media_of(picture: Image.Image | Clip) -> Media:
    """What a cost depends on: a picture's size, or how many frames of which size a clip has."""
    if isinstance(picture, Clip):
        width, height = picture.frames[0].size
        return Media(frames=len(picture.frames), height=height, width=width)
    width, height = picture.size
    return Media(height=height, width=width)


def media_of_all(pictures: Sequence[Image.Image | Clip]) -> Media:
    """What the cost of a prompt depends on: one clip, or pictures of one size.

    Raises:
        InputError: pictures of several sizes, a clip beside something else, or nothing.
    """
    each = {media_of(picture) for picture in pictures}
    if len(each) != 1 or (len(pictures) > 1 and isinstance(pictures[0], Clip)):
        raise InputError(
            "what encoding costs is told for one clip, or for pictures of one size; got "
            f"{len(pictures)} pictures and clips of {len(each)} kinds"
        )
    return replace(each.pop(), images=len(pictures))


def _image(picture: Image.Image, name: str, sampling: Sampling) -> Image.Image | Clip:
    """An opened file: its one picture, or frames of its animation."""
    with decoding(name):
        check_size(picture, name)
        numbers = parts(picture)
        if len(numbers) == 1:
            return to_rgb(picture, name)
        if picture.format not in ANIMATED:
            raise InputError(
                f"{name} is a {picture.format} of {len(numbers)} pages, which are neither a picture nor "
                "a clip; give the page that is meant, or several: [page.copy() for page in "
                "PIL.ImageSequence.Iterator(PIL.Image.open(...))]"
            )
        if picture.tell():
            raise InputError(
                f"{name} is an animation that stands at frame {picture.tell()}; copy() it for this frame "
                "alone, seek(0) for the clip"
            )
        return _animation(picture, numbers, name, sampling)


def _animation(picture: Image.Image, numbers: list[int], name: str, sampling: Sampling) -> Clip:
    taken = []
    with standing_at(picture, numbers[0]):
        picture.load()  # a WebP knows its frames' durations only after that
        lasts = picture.info.get("duration")  # duration of a frame, in ms
        wanted = sampling.indices(len(numbers), 1000 / lasts if lasts else None, name)
        for index in wanted:
            picture.seek(numbers[index])
            taken.append(picture.copy())
    return _clip(taken, wanted, name)


def _clip(taken: Sequence[Image.Image], numbers: Sequence[int], name: str) -> Clip:
    return Clip(frames_to_rgb(taken, [f"frame {number} of {name}" for number in numbers]))


def _array(values: Any, sampling: Sampling) -> Image.Image | Clip:
    pixels = from_array(values)
    if pixels.ndim == 3:
        return to_rgb(to_image(pixels), "the array")
    wanted = sampling.indices(len(pixels), None, "the array")
    return _clip([to_image(pixels[index]) for index in wanted], wanted, "the array")


def _named(source: Any) -> str:
    """The name of a source in errors."""
    if isinstance(source, (str, PathLike)):
        return str(source)
    called = getattr(source, "name", None)
    return called if isinstance(called, str) else "the file"


def _contents(source: Any) -> tuple[Path | BytesIO, str]:
    """The path of an existing file, or a file's contents if not empty, and its name in errors.

    Raises:
        InputError: neither.
    """
    name = _named(source)
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        try:
            there, size = path.is_file(), path.stat().st_size
        except (OSError, ValueError):  # such as a name that is too long
            there, size = False, 0
        if not there:
            raise InputError(f"no such picture or video file: {name[:200]}")
        if not size:
            raise InputError(f"{name} is empty (0 bytes)")
        return path, name
    if hasattr(source, "read"):
        with decoding(name):
            if source.seekable():
                source.seek(0)
            source = source.read()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise InputError(
            "a picture is a path, a PIL image, an array, a file's bytes or a Clip, got "
            f"{type(source).__name__}"
        )
    if not source:
        raise InputError(f"{name} is empty (0 bytes)")
    return BytesIO(source), name


def _head(contents: Path | BytesIO) -> bytes:
    if isinstance(contents, BytesIO):
        return contents.getvalue()[:12]
    with contents.open("rb") as file:
        return file.read(12)


def _is_picture(contents: Path | BytesIO) -> bool:
    try:
        with Image.open(contents):
            return True
    except Exception:  # any kind: each format has a parser of its own
        return False
