"""The body of a chat request: what it shows and says, and the budget that is written into it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from foveate.errors import FoveateError, InputError
from foveate.reduction import Reduction
from foveate.serving.budget.sizes import Size, size_of
from foveate.serving.field import KEY, KWARGS
from foveate.serving.setting import setting_of

OPENED = (KWARGS, "media_io_kwargs")  # what vLLM's --trust-request-mm-kwargs lets a client set
EMPTY = re.compile(rb"\s*}")
WRITTEN = '"mm_processor_kwargs": {"foveate": {"method": "aim-merge", "keep": 0.25}}'


@dataclass(frozen=True)
class Asked:
    """What a chat request asks for.

    Attributes:
        sizes: of its pictures; None for one whose size cannot be told.
        clips: how many videos it shows.
        characters: of its texts.
        streams: whether the answer comes in pieces.
        own: the client's own budget, as `{"foveate": ...}`; empty for none.
        stripped: how many other kwargs of processors and loaders of media the client gave.
    """

    sizes: tuple[Size | None, ...]
    clips: int
    characters: int
    streams: bool
    own: Mapping[str, Any] = field(default_factory=dict)
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
    own = own_budget(fields)
    parts = list(_parts(fields.get("messages")))
    shown = [url for part in parts if (url := _url(part, "image_url")) is not None]
    return Asked(
        sizes=tuple(size_of(url) for url in shown),
        clips=sum(_url(part, "video_url") is not None for part in parts),
        characters=sum(len(part["text"]) for part in parts if isinstance(part.get("text"), str)),
        streams=fields.get("stream") is True,
        own=own,
        stripped=sum(map(_count, map(fields.get, OPENED))) - len(own),
    )


def own_budget(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The client's own budget in a body, `{"foveate": ...}` as it was written; empty for none.

    Raises:
        InputError: it is none.
    """
    kwargs = fields.get(KWARGS)
    if not isinstance(kwargs, dict) or KEY not in kwargs:
        return {}
    reduction_of(kwargs[KEY])
    return {KEY: kwargs[KEY]}


def reduction_of(written: Any) -> Reduction:
    """The reduction that a budget stands for; of one whose reduction a plan finds later, none.

    Which of them it can serve is the server's to say.

    Args:
        written: a method and its knobs, `{"budget": "25%"}` as `foveate serve` takes it, or null.

    Raises:
        InputError: anything else.
    """
    try:
        return setting_of(written).reduction
    except FoveateError as error:
        raise InputError(f"a budget is written {WRITTEN}, or null: {error}") from None


def told_keep(written: Any, reduction: Reduction) -> str:
    """The share of visual tokens that a client's budget keeps, "?" where it does not say."""
    if written is None:
        return "1"
    keep = getattr(reduction.before, "keep", None)
    return "?" if keep is None else f"{keep:g}"


def stripped(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """The body without a client's kwargs; the same bytes where it has none.

    Args:
        body: as it came.
        fields: the object in it.

    Raises:
        InputError: it cannot be written anew.
    """
    if not any(name in fields for name in OPENED):
        return body
    try:
        kept = {name: value for name, value in fields.items() if name not in OPENED}
        return json.dumps(kept).encode()
    except RecursionError:
        raise InputError(f"a body with {' or '.join(OPENED)} must be nested less deeply") from None


def with_budget(body: bytes, budget: Mapping[str, Any]) -> bytes:
    """A body without a client's kwargs, with this budget: a field in front, nothing is written anew.

    Args:
        body: an object.
        budget: as `{"foveate": ...}`; empty for none.
    """
    if not budget:
        return body
    encoding = json.detect_encoding(body)
    if encoding != "utf-8":
        body = body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    start = body.index(b"{") + 1
    added = json.dumps({KWARGS: dict(budget)}).encode()[1:-1]
    comma = b"" if EMPTY.match(body, start) else b", "
    return b"".join((body[:start], added, comma, memoryview(body)[start:]))


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
