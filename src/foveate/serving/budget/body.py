"""The body of a chat request: what it shows and says, and the budget that is written into it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from foveate.errors import FoveateError, InputError
from foveate.reduction import Reduction
from foveate.serving.budget.sizes import Size, size_of

KWARGS, KEY = "mm_processor_kwargs", "foveate"
OPENED = (KWARGS, "media_io_kwargs")  # what vLLM's --trust-request-mm-kwargs lets a client set
WRITTEN = '"mm_processor_kwargs": {"foveate": {"method": "aim-merge", "keep": 0.25}}'


@dataclass(frozen=True)
class Asked:
    """What a chat request asks for.

    Attributes:
        sizes: of its pictures; None for one whose size cannot be told.
        clips: how many videos it shows.
        characters: of its texts.
        streams: whether the answer comes in pieces.
        budget: the client's own, as it was written; None for none.
        stripped: how many other kwargs of processors and loaders of media the client gave.
    """

    sizes: tuple[Size | None, ...]
    clips: int
    characters: int
    streams: bool
    budget: Mapping[str, Any] | None = None
    stripped: int = 0

    @property
    def shown(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.sizes or self.clips)


def parsed(body: bytes) -> dict[str, Any] | None:
    """The body's object; None for what is none, which the server must refuse."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def read(fields: Mapping[str, Any]) -> Asked:
    """What a body asks for; parts of unknown kinds count nothing.

    Raises:
        InputError: a client's own budget that is none.
    """
    budget = own_budget(fields)
    parts = list(_parts(fields.get("messages")))
    shown = [url for part in parts if (url := _url(part, "image_url")) is not None]
    return Asked(
        sizes=tuple(size_of(url) for url in shown),
        clips=sum(_url(part, "video_url") is not None for part in parts),
        characters=sum(len(part["text"]) for part in parts if isinstance(part.get("text"), str)),
        streams=fields.get("stream") is True,
        budget=budget,
        stripped=sum(map(_count, map(fields.get, OPENED))) - (budget is not None),
    )


def own_budget(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The client's own budget in a body, None for none.

    Raises:
        InputError: it is none.
    """
    kwargs = fields.get(KWARGS)
    budget = kwargs.get(KEY) if isinstance(kwargs, dict) else None
    if budget is not None:
        budget_of(budget)
    return budget


def budget_of(written: Any) -> Reduction:
    """The reduction that a budget stands for: a method before the LLM, on what its input is.

    Raises:
        InputError: anything else.
    """
    if not isinstance(written, dict):
        raise InputError(f"a budget is written {WRITTEN}, got {written!r:.100}")
    try:
        reduction = Reduction.from_dict(written)
    except FoveateError as error:
        raise InputError(f"a budget is written {WRITTEN}: {error}") from None
    if any(part and not part.is_off for part in (reduction.encode, reduction.inside)):
        raise InputError(
            f"a budget is written {WRITTEN}, with a method before the LLM: an engine cannot serve "
            f"{written!r:.200}"
        )
    return reduction


def rewritten(body: bytes, fields: Mapping[str, Any], budget: Mapping[str, Any] | None) -> bytes:
    """The body with this budget and no other kwargs; the same bytes where there is nothing to change.

    Args:
        body: as it came.
        fields: the object in it.
        budget: None for no reduction.
    """
    added = {} if budget is None else {KWARGS: {KEY: budget}}
    if any(name in fields for name in OPENED) or (added and json.detect_encoding(body) != "utf-8"):
        kept = {name: value for name, value in fields.items() if name not in OPENED}
        return json.dumps(kept | added).encode()
    if not added:
        return body
    # one more field in front: pictures are not written anew
    text = json.dumps(added).encode()[:-1]
    start = body.index(b"{")
    return b"".join((body[:start], text, b", " if fields else b"", body[start + 1 :]))


def _count(kwargs: Any) -> int:
    """How many kwargs were given; one for what is no object."""
    return len(kwargs) if isinstance(kwargs, dict) else int(kwargs is not None)


def _parts(messages: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of all messages; a text alone is one, too."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield {"text": content}
        for part in content if isinstance(content, list) else ():
            if isinstance(part, str):
                yield {"text": part}
            elif isinstance(part, dict):
                yield part


def _url(part: Mapping[str, Any], name: str) -> str | None:
    """What a part shows: `{"image_url": {"url": ...}}` or `{"image_url": ...}`, whatever its type."""
    value = part.get(name)
    url = value.get("url") if isinstance(value, dict) else value
    return url if isinstance(url, str) else None
