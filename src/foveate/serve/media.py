"""Pictures and clips from files: what cannot be read is one clear error."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from foveate.errors import InputError, MissingExtraError
from foveate.measure.vision.encoder import Media

MAX_PIXELS = 100_000_000
FRAMES = 8  # taken from a clip where nothing else is said
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


@dataclass(frozen=True)
class Clip:
    """Frames of a video, RGB and of one size.

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
        return np.stack([np.asarray(frame.convert("RGB")) for frame in self.frames])


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` indices, evenly spread from the first to the last."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are taken.

    Attributes:
        frames: at most so many, evenly spread, first and last included; 8 where no `fps` is given.
        fps: so many a second of the clip, from its first frame on.

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
            rate: its frames a second; None if it has no time.
            name: the clip's, for the error.

        Raises:
            InputError: `fps` of a clip that has no time.
        """
        if self.fps is None:
            return spread(total, self.frames or FRAMES)
        if not rate:
            raise InputError(f"{name} has no frame rate, so fps cannot be used; use frames")
        step = max(rate / self.fps, 1.0)  # no frame is taken twice
        timed = [int(number * step) for number in range(math.ceil(total / step))]
        return [timed[place] for place in spread(len(timed), self.frames or len(timed))]


def read(
    source: str | Path | Image.Image | Clip, sampling: Sampling = Sampling()
) -> Image.Image | Clip:
    """A picture, or some frames of a clip.

    Args:
        source: a picture or clip, or the path of one; animated pictures (GIF, WebP) are clips.
        sampling: which frames to take from a clip.

    Raises:
        InputError: the file is missing, empty, unreadable or gigantic, or holds no frames.
        MissingExtraError: a video file, and PyAV is not installed.
    """
    if isinstance(source, Clip):
        wanted = sampling.indices(len(source.frames), None, "a Clip")
        return Clip([_rgb(source.frames[index], f"frame {index} of a Clip") for index in wanted])
    if isinstance(source, Image.Image):
        return _rgb(source, "the picture")
    if not isinstance(source, (str, Path)):
        raise InputError(f"a picture is a path, a PIL image or a Clip, got {type(source).__name__}")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no such picture or video file: {path}")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty (0 bytes)")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Clip(_video_frames(path, sampling))
    return _picture(path, sampling)


def looked_at(pictures: Sequence[Image.Image | Clip]) -> list[Image.Image]:
    """What the guard for text looks at: every picture, and of a clip the first, middle and last frame."""
    looked = []
    for picture in pictures:
        if isinstance(picture, Clip):
            looked += [picture.frames[index] for index in spread(len(picture.frames), 3)]
        else:
            looked.append(picture)
    return looked


def media_of(picture: Image.Image | Clip) -> Media:
    """What a cost depends on: the size of a picture, and how many frames of which size a clip has."""
    if isinstance(picture, Clip):
        width, height = picture.frames[0].size
        return Media(frames=len(picture.frames), height=height, width=width)
    width, height = picture.size
    return Media(height=height, width=width)


def _picture(path: Path, sampling: Sampling) -> Image.Image | Clip:
    with _decoding(str(path)), Image.open(path) as opened:
        _checked(opened, str(path))
        count = getattr(opened, "n_frames", 1)
        if count == 1:
            return opened.convert("RGB")
        opened.load()  # only then a WebP knows how long its frames last
        lasts = opened.info.get("duration")  # of a frame, in ms
        rate = 1000 / lasts if lasts else None
        wanted = set(sampling.indices(count, rate, str(path)))
        every = enumerate(ImageSequence.Iterator(opened))
        return Clip([frame.convert("RGB") for index, frame in every if index in wanted])


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    """Decoded, for an image that was only opened may be of a broken file."""
    with _decoding(name):
        return _checked(picture, name).convert("RGB")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a decoder stumbles over is one clear error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: {error}; allowed: {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # of any kind: each format has a parser of its own
        raise InputError(f"cannot read {name} as a picture: {error}") from None


def _checked(picture: Image.Image, name: str) -> Image.Image:
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{name} is {width} x {height} pixels; allowed: 1 to {MAX_PIXELS:,} in all"
        )
    return picture


def _video_frames(path: Path, sampling: Sampling) -> list[Image.Image]:
    """Decoded as a stream: memory holds only the frames that are taken, however long the clip."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise MissingExtraError("reading video files", "video") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream")
            stream = container.streams.video[0]
            rate = float(stream.average_rate) if stream.average_rate else None
            total = stream.frames or sum(1 for _ in container.decode(stream))
        if not total:
            raise InputError(f"{path} has no frames")
        wanted = set(sampling.indices(total, rate, str(path)))
        with av.open(str(path)) as container:
            every = enumerate(container.decode(video=0))
            return [frame.to_image() for index, frame in every if index in wanted]
    except FFmpegError as error:
        raise InputError(f"cannot read {path} as a video: {error}") from None
