"""The size of a picture in a data URL, from its first bytes: the rest is never decoded."""

import binascii
import io
import struct
import warnings

from PIL import Image

FIRST = (4096, 65536, 1 << 20)  # bytes that are looked at, until they tell the size
Size = tuple[int, int]  # height and width


def size_of(url: str) -> Size | None:
    """Height and width of a picture, None where its first bytes do not tell, or for any other URL.

    Args:
        url: `data:image/png;base64,...`
    """
    head, comma, _ = url[:256].partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    start = len(head) + 1
    for length in FIRST:
        text = url[start : start + length // 3 * 4]
        if found := _read(_decoded(text)):
            return found
        if start + len(text) >= len(url):
            break
    return None


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError:  # not base64, or cut within four letters that line breaks have shifted
        return b""


def _read(data: bytes) -> Size | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data)).size
    except Exception:  # any kind: bytes of a stranger's, and readers that raise what they like
        return None
    return (height, width) if height > 0 and width > 0 else None


def _webp(data: bytes) -> Size | None:
    """By hand, because Pillow reads a whole WebP file to open it."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", body[6:10]))
    else:
        return None
    return height, width
