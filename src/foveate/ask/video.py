"""Frames of a video file as a player shows them, by PyAV."""

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.Image import Transpose

from foveate.ask.seeking import LostError, index_of, sought
from foveate.errors import InputError, MissingExtraError

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
STILLS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
STILLS |= {b"crx "}  # pictures in the container of MP4
BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip"}  # of QuickTime files that have no ftyp
STARTS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba",  # MPEG
    b"\x00\x00\x01\xb3",
    b"\x30\x26\xb2\x75",  # ASF: WMV
    b"OggS",
    b"FLV",
)
Pick = Callable[[int, float | None], list[int]]
# signs of where the picture's right (x, y) and its lower edge (x, y) go on the screen
TURNS: dict[tuple[int, ...], Transpose | None] = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Transpose.ROTATE_270,
    (-1, 0, 0, -1): Transpose.ROTATE_180,
    (0, -1, 1, 0): Transpose.ROTATE_90,
    (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Transpose.TRANSPOSE,
    (0, -1, -1, 0): Transpose.TRANSVERSE,
}


def is_video(head: bytes) -> bool:
    """Whether a file is a video, by its first bytes, at least 12."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in STILLS
    return (
        head[4:8] in BOXES
        or head.startswith(STARTS)
        or (head[:4], head[8:12]) == (b"RIFF", b"AVI ")
    )


def frames(contents: Path | BytesIO, name: str, pick: Pick) -> list[Image.Image]:
    """The picked frames of a video file, upright, as a player shows them.

    The file is decoded as a stream: memory holds only the picked frames, however long the clip. Frames
    between them are skipped if the file allows it (`foveate.ask.seeking`). A stream that is cut short
    gives the frames it has.

    Args:
        contents: the video file, or its bytes.
        name: for errors.
        pick: called with the number of frames and the frames per second; gives the indices to take.

    Raises:
        InputError: no video, no frames, or frames rotated by other than right angles.
        MissingExtraError: PyAV is not installed.
    """
    try:
        from av.error import FFmpegError
    except ImportError:
        raise MissingExtraError("reading video files", "video") from None
    try:
        found = _sought(contents, name, pick)
        taken = _decoded(contents, name, pick) if found is None else found
    except FFmpegError as error:
        raise InputError(f"cannot read {name} as a video: {error}") from None
    if not taken:
        raise InputError(f"{name} has no frames")
    return taken


def _sought(contents: Path | BytesIO, name: str, pick: Pick) -> list[Image.Image] | None:
    """The wanted frames by seeking; None if the file does not allow it."""
    from av.error import FFmpegError

    with _opened(contents) as container:
        stream = _stream(container, name)
        promised, rate = stream.frames, _rate(stream)
        try:
            index = index_of(container, stream)
            if index is None:
                return None
            there = len(index.times)
            wanted = pick(promised or there, rate)
            if wanted[-1] >= there:  # the header promises more than there are
                wanted = pick(there, rate)
            return [_shown(frame, name) for frame in sought(container, stream, index, wanted)]
        except (FFmpegError, LostError):
            return None


def _decoded(contents: Path | BytesIO, name: str, pick: Pick) -> list[Image.Image]:
    """The wanted frames by decoding all."""
    total, rate = _length(contents, name)
    wanted = pick(total, rate)
    taken, decoded = _taken(contents, name, wanted)
    if len(taken) < len(wanted) and decoded:  # the header promises more than there are
        taken, _ = _taken(contents, name, pick(decoded, rate))
    return taken


def _opened(contents: Path | BytesIO) -> Any:
    import av

    if isinstance(contents, BytesIO):
        contents.seek(0)
    source = str(contents) if isinstance(contents, Path) else contents
    return av.open(source, metadata_errors="replace")  # titles are not always UTF-8


def _stream(container: Any, name: str) -> Any:
    """The first video stream that is not a cover picture."""
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{name} has no video stream")
    return stream


def _rate(stream: Any) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _length(contents: Path | BytesIO, name: str) -> tuple[int, float | None]:
    """The number of frames, and of frames per second."""
    with _opened(contents) as container:
        stream = _stream(container, name)
        rate = _rate(stream)
        return stream.frames or sum(1 for _ in container.decode(stream)), rate


def _taken(
    contents: Path | BytesIO, name: str, wanted: Sequence[int]
) -> tuple[list[Image.Image], int]:
    """The wanted frames, turned, and how many there were."""
    taken, number, numbers = [], 0, set(wanted)
    with _opened(contents) as container:
        for number, frame in enumerate(container.decode(_stream(container, name)), 1):
            if number - 1 in numbers:
                taken.append(_shown(frame, name))
    return taken, number


def _shown(frame: Any, name: str) -> Image.Image:
    turn = _turn(frame, name)
    image = frame.to_image()
    return image if turn is None else image.transpose(turn)


def _turn(frame: Any, name: str) -> Transpose | None:
    """A turn, by the display matrix: rows (a, b, u), (c, d, v), (x, y, w) of 32-bit integers."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    largest = max(map(abs, (a, b, c, d))) or 1
    axes = tuple(round(part / largest) for part in (a, b, c, d))
    if axes not in TURNS and any(axes):
        raise InputError(
            f"{name} is to be shown turned by part of a right angle ({a}, {b}, {c}, {d}); allowed: "
            "quarter turns and mirrors"
        )
    return TURNS.get(axes)
