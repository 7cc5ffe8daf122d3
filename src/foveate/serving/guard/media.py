"""Pictures and clips as bytes: what they are by their first bytes, whether they are whole, how large."""

import base64
import binascii
from io import BytesIO
from typing import Any

from PIL import Image

from foveate.errors import InputError
from foveate.pictures import decoding
from foveate.serving.asgi import Refusal
from foveate.serving.guard.limits import Limits
from foveate.serving.guard.request import Medium

FRAMES = 32  # of a clip count as pixels: more are rarely looked at
PICTURES = ("PNG", "JPEG", "WEBP", "GIF")
CLIPS = {
    "mp4": "mov",
    "webm": "matroska",
}  # the names of PyAV's readers, which read MOV and MKV, too


def contents(url: str, name: str) -> bytes:
    """The bytes of a data URL.

    Args:
        url: `data:image/png;base64,...`; the type that it claims is not looked at.
        name: what it must be, for the error.

    Raises:
        Refusal: 400, another URL, a path, or text that is no base64.
    """
    head, comma, text = url.partition(",")
    if not (comma and head[:5].lower() == "data:" and head[-7:].lower() == ";base64"):
        raise Refusal(
            400,
            f"a {name} must be data:...;base64,... here, no path or other URL; got {url[:60]!r}",
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"the base64 of a {name} cannot be decoded: {error}") from None


def data_url(kind: str, data: bytes) -> str:
    """A data URL of these bytes."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def check_media(media: list[Medium], limits: Limits) -> None:
    """Look at every picture and clip of a request; their data URLs say afterwards what they are.

    Args:
        media: of the request, all of them data.
        limits: of the request.

    Raises:
        Refusal: 400, one that is broken, too large, or of no allowed format.
    """
    left = limits.max_pixels
    for medium in media:
        data = contents(medium.url, medium.kind)
        if medium.kind == "picture":
            kind, pixels = f"image/{picture_format(data).lower()}", _picture(data, left)
        else:
            kind, pixels = f"video/{clip_format(data)}", _clip(data, limits, left)
        left -= pixels
        medium.url = data_url(kind, data)


def picture_format(data: bytes) -> str:
    """Which of `PICTURES` it is, by its first bytes.

    Raises:
        Refusal: 400, none of them.
    """
    starts = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "GIF": b"GIF8"}
    found = [name for name, start in starts.items() if data.startswith(start)]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = ["WEBP"]
    if not found:
        raise Refusal(400, f"a picture must be {', '.join(PICTURES)}; it begins {data[:12]!r}")
    return found[0]


def clip_format(data: bytes) -> str:
    """Which of `CLIPS` it is, by its first bytes.

    Raises:
        Refusal: 400, none of them.
    """
    if data[4:8] == b"ftyp":
        return "mp4"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    raise Refusal(400, f"a clip must be MP4, MOV, WEBM or MKV; it begins {data[:12]!r}")


def _picture(data: bytes, left: int) -> int:
    """The pixels of a picture, which is decoded if there are not too many."""
    try:
        with (
            decoding("a picture"),
            Image.open(BytesIO(data), formats=[picture_format(data)]) as picture,
        ):
            pixels = _fitting(picture.width * picture.height, left)
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise Refusal(400, "an animated picture: send its frames, or a clip as video_url")
            picture.load()
            return pixels
    except Refusal:
        raise
    except InputError as error:
        raise Refusal(400, str(error)) from None


def _clip(data: bytes, limits: Limits, left: int) -> int:
    """The pixels of a clip's frames that count; all are found in the file, the first one is decoded."""
    if len(data) > limits.max_video_bytes:
        raise Refusal(400, f"a clip has more than {limits.max_video_bytes:,} bytes")
    try:
        from av.error import FFmpegError
    except ImportError:
        raise Refusal(400, 'clips need PyAV here: pip install "foveate[video]"') from None
    reader = CLIPS[clip_format(data)]
    try:
        pixels = _clip_pixels(data, reader, limits, left)
        with _opened(data, reader) as container:
            next(container.decode(video=0))
        return pixels
    except (FFmpegError, IndexError, StopIteration, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(400, f"cannot read a clip: {str(error)[:200] or 'it has no frame'}") from None


def _clip_pixels(data: bytes, reader: str, limits: Limits, left: int) -> int:
    with _opened(data, reader) as container:
        stream, frames = container.streams.video[0], 0
        size = _fitting(stream.codec_context.width * stream.codec_context.height, left)
        for packet in container.demux(stream):
            frames += bool(packet.size)
            if frames > limits.max_video_frames:
                raise Refusal(400, f"a clip has more than {limits.max_video_frames:,} frames")
        return _fitting(size * min(frames, FRAMES), left)


def _opened(data: bytes, reader: str) -> Any:
    """A clip, by the reader of its format alone: others would open files that a clip names."""
    import av

    return av.open(BytesIO(data), format=reader)


def _fitting(pixels: int, left: int) -> int:
    if not 0 < pixels <= left:
        raise Refusal(
            400, f"a picture or clip of {pixels:,} pixels, of which {left:,} are left here"
        )
    return pixels
