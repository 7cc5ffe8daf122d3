"""How much a request may bring, by default or by environment variables."""

import os
from dataclasses import dataclass, fields
from typing import Annotated

from foveate.errors import InputError
from foveate.knobs import Checked, Count, Range
from foveate.pictures import MAX_PIXELS
from foveate.serving.asgi import MAX_BODY_BYTES
from foveate.serving.field import PREFIX


@dataclass(frozen=True)
class Limits(Checked):
    """How much one request may bring, and how many are taken at once.

    Attributes:
        max_body_bytes: of a body; pictures are base64 in it, four bytes for three.
        max_media: pictures and clips.
        max_pixels: of all pictures together; of a clip up to 32 frames count.
        max_video_bytes: of a clip's file.
        max_video_frames: of a clip.
        max_answer_tokens: that may be asked for.
        max_requests: that are answered or wait at once.
        max_seconds: for a body to come in, and for all URLs of a request.
        allow_urls: 1: http(s) URLs are fetched here and handed on as data; 0: they are refused.

    Raises:
        InputError: a number below 1.
    """

    max_body_bytes: Count = MAX_BODY_BYTES
    max_media: Count = 16
    max_pixels: Count = MAX_PIXELS
    max_video_bytes: Count = 16 * 2**20
    max_video_frames: Count = 3600
    max_answer_tokens: Count = 4096
    max_requests: Count = 64
    max_seconds: Count = 30
    allow_urls: Annotated[int, Range(least=0, most=1)] = 0

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits by environment variables: FOVEATE_MAX_PIXELS and so on, FOVEATE_ALLOW_URLS=1.

        Raises:
            InputError: no whole number, or one that is not allowed.
        """
        given = {}
        for field in fields(cls):
            name = PREFIX + field.name.upper()
            text = os.environ.get(name, "").strip()
            if text and not text.isdecimal():
                raise InputError(f"{name} must be a whole number, got {text!r}")
            if text:
                given[field.name] = int(text)
        return cls(**given)
