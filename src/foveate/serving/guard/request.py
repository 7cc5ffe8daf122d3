"""Where a request shows pictures, and what else of it is not handed on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from foveate.serving.asgi import Refusal
from foveate.serving.field import CHAT, RESPONSES
from foveate.serving.guard.fields import check_fields, short
from foveate.serving.guard.limits import Limits

PATHS = (CHAT, RESPONSES)
TEXTS = ("text", "input_text", "output_text")
SHOWS = {"image_url": "image_url", "input_image": "image_url", "video_url": "video_url"}
TOGETHER = {"type", "detail"}  # keys beside a medium's
ARGUMENTS = ("name", "arguments")
# what stands between the messages of a response's input, and the texts that each needs
CALLS = {
    "function_call": ("call_id", *ARGUMENTS),
    "function_call_output": ("call_id",),
    "reasoning": (),
}


@dataclass
class Medium:
    """A picture or clip of a request, in its place there.

    Attributes:
        place: the dictionary that holds the URL.
        key: under which it holds it.
        kind: what it must be.
    """

    place: dict[str, Any]
    key: str
    kind: Literal["picture", "clip"]

    @property
    def url(self) -> str:
        """As the request has it."""
        return self.place[self.key]

    @url.setter
    def url(self, value: str) -> None:
        self.place[self.key] = value


def media_of(request: dict[str, Any], path: str, limits: Limits) -> list[Medium]:
    """The pictures and clips of a request, in order, after a look at everything around them.

    Args:
        request: the body of a chat completion or response.
        path: one of `PATHS`.
        limits: of the request.

    Raises:
        Refusal: 400, something of another type or kind than is handed on, or too many pictures.
    """
    check_fields(request, limits)
    name = "messages" if path == CHAT else "input"
    found = []
    for message in _messages(request.get(name), name):
        found += _media(message.get("content"))
        if "output" in message:
            found += _media(message["output"])
        if len(found) > limits.max_media:
            raise Refusal(400, f"more than {limits.max_media} pictures and clips in one request")
    return found


def _messages(given: Any, name: str) -> list[dict[str, Any]]:
    """The messages of a request; a response's input may also be a text, or the parts of one message."""
    if isinstance(given, str) and name == "input":
        return []
    if not isinstance(given, list) or not given:
        raise Refusal(400, f"{name} must be a list of at least one message, got {short(given)}")
    if wrong := [message for message in given if not isinstance(message, dict)]:
        raise Refusal(400, f"each of {name} must be an object, got {short(wrong[0])}")
    if name == "input" and "role" not in given[0] and not _is_call(given[0]):
        return [{"role": "user", "content": given}]
    for message in given:
        if name == "input" and _is_call(message):
            _check_item(message)
        elif not isinstance(message.get("role"), str):
            raise Refusal(400, f"each of {name} needs a role, got {short(message.get('role'))}")
        _check_calls(message.get("tool_calls"))
    return given


def _is_call(item: dict[str, Any]) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind in CALLS


def _check_item(item: dict[str, Any]) -> None:
    """A call of a response's input, what came of one, or thoughts."""
    _check_call(item, *CALLS[item["type"]])
    if item["type"] == "function_call_output" and item.get("output") is None:
        raise Refusal(400, f"what came of a call needs an output, got {short(item)}")
    if item["type"] == "reasoning" and isinstance(item.get("content"), str):
        raise Refusal(400, f"content of reasoning must be a list of parts, got {short(item)}")


def _check_calls(calls: Any) -> None:
    """The calls of tools in a message."""
    if not isinstance(calls, list | None):
        raise Refusal(400, f"tool_calls must be a list, got {short(calls)}")
    for call in calls or ():
        _check_call(call, "id")
        _check_call(call.get("function"), *ARGUMENTS)


def _check_call(call: Any, *texts: str) -> None:
    """See that a call's texts are there, and that its arguments are an object of JSON."""
    for name in texts:
        if not isinstance(call, dict) or not isinstance(call.get(name), str):
            raise Refusal(400, f"a call of a tool needs {name} as a text, got {short(call)}")
    try:
        fine = "arguments" not in texts or isinstance(json.loads(call["arguments"]), dict)
    except (ValueError, RecursionError):
        fine = False
    if not fine:
        got = short(call["arguments"])
        raise Refusal(400, f"arguments of a call must be the text of a JSON object, got {got}")


def _media(content: Any) -> Iterator[Medium]:
    """The pictures and clips in the content of a message."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(400, f"content must be a text or a list of parts, got {short(content)}")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in SHOWS:
            yield _medium(part, SHOWS[kind])
        elif kind not in (*TEXTS, "reasoning_text"):
            allowed = ", ".join((*TEXTS, *SHOWS))
            raise Refusal(400, f"a part of content has a type of {allowed}; got {short(part)}")
        elif not isinstance(part.get("text"), str):
            raise Refusal(400, f"a part of type {kind} needs a text, got {short(part)}")


def _medium(part: dict[str, Any], key: str) -> Medium:
    """The picture or clip of a part; a URL stands under the key itself, or under `url` of an object."""
    kind = "clip" if key == "video_url" else "picture"
    place, inner = part, key
    if isinstance(part.get(key), dict):
        place, inner = part[key], "url"
    if not isinstance(place.get(inner), str):
        raise Refusal(400, f'{key} must be {{"url": "data:..."}}, got {short(part.get(key))}')
    if others := (set(part) | set(place)) - {key, inner, *TOGETHER}:
        raise Refusal(400, f"a {kind} takes no {', '.join(sorted(others))[:200]} here")
    return Medium(place, inner, kind)
