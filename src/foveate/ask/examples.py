"""The pictures and the clip that come with the package."""

from pathlib import Path

from foveate.errors import InputError

FOLDER = Path(__file__).parent.parent / "assets" / "demo"
KINDS = {"picture": "reasoning-*.png", "text": "ocr-*.png", "clip": "video-*.webp"}


def example(kind: str = "picture") -> Path:
    """Path of a bundled example: a "picture" of digits, one of "text", or a "clip".

    Raises:
        InputError: no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"example must be one of {', '.join(KINDS)}, got {kind!r}")
    return min(FOLDER.glob(KINDS[kind]))
