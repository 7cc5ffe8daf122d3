"""Pictures and clips from files: what cannot be read is one clear error."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from foveate.errors import InputError, MissingExtraError

MAX_PIXELS = 100_000_000
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


@dataclass(frozen=True)
class Clip:
    """Frames of a video, RGB and of one size.

    Raises:
        InputError: no frames, or frames of different sizes.
    """

    frames: Sequence[Image.Image]

    def __post_init__(self) -> None:
        if not self.frames:
            raise InputError("the clip has no frames; at least 1 is needed")
        sizes = {frame.size for frame in self.frames}
        if len(sizes) > 1:
            raise InputError(f"a clip's frames must have one size, got {sorted(sizes)}")

    def array(self) -> np.ndarray:
        """(frames, height, width, 3) bytes."""
        return np.stack([np.asarray(frame.convert("RGB")) for frame in self.frames])

    def sampled(self, count: int) -> "Clip":
        """`count` frames evenly spread, first and last included; fewer if the clip has fewer."""
        return Clip([self.frames[index] for index in spread(len(self.frames), count)])


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` indices, evenly spread from the first to the last."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


def read(source: str | Path | Image.Image | Clip, frames: int) -> Image.Image | Clip:
    """A picture, or a clip of at most `frames` frames.

    Args:
        source: a picture or clip, or the path of one; animated pictures (GIF, WebP) are clips.
        frames: frames to take from a clip.

    Raises:
        InputError: the file is missing, empty, unreadable or gigantic, or holds no frames.
        MissingExtraError: a video file, and PyAV is not installed.
    """
    if frames < 1:
        raise InputError(f"frames must be at least 1, got {frames}")
    if isinstance(source, Clip):
        return source.sampled(frames)
    if isinstance(source, Image.Image):
        return _checked(source, "picture").convert("RGB")
    if not isinstance(source, (str, Path)):
        raise InputError(f"a picture is a path, a PIL image or a Clip, got {type(source).__name__}")
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no such picture or video file: {path}")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty (0 bytes)")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Clip(_video_frames(path, frames))
    return _picture(path, frames)


def _picture(path: Path, frames: int) -> Image.Image | Clip:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _checked(opened, str(path))
                count = getattr(opened, "n_frames", 1)
                if count == 1:
                    return opened.convert("RGB")
                wanted = set(spread(count, frames))
                every = enumerate(ImageSequence.Iterator(opened))
                return Clip([frame.convert("RGB") for index, frame in every if index in wanted])
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}; allowed: {MAX_PIXELS:,} pixels") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"cannot read {path} as a picture: {error}") from None


def _checked(picture: Image.Image, name: str) -> Image.Image:
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{name} is {width} x {height} pixels; allowed: 1 to {MAX_PIXELS:,} in all"
        )
    return picture


def _video_frames(path: Path, count: int) -> list[Image.Image]:
    """Evenly spread frames, decoded as a stream: memory holds only those that are kept."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise MissingExtraError("reading video files", "video") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream")
            total = container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
            wanted = set(spread(total, count)) if total else set()
        with av.open(str(path)) as container:
            every = enumerate(container.decode(video=0))
            return [frame.to_image() for index, frame in every if index in wanted]
    except FFmpegError as error:
        raise InputError(f"cannot read {path} as a video: {error}") from None
