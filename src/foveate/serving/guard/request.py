"""Where a request shows pictures, and what else of it is not handed on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from foveate.serving.asgi import Refusal
from foveate.serving.guard.limits import Limits
from foveate.serving.setting import read_setting

CHAT, RESPONSES = PATHS = ("/v1/chat/completions", "/v1/responses")
TEXTS = ("text", "input_text", "output_text")
SHOWS = {"image_url": "image_url", "input_image": "image_url", "video_url": "video_url"}
TOGETHER = {"type", "detail"}  # keys beside a medium's
CALLS = ("function_call", "function_call_output", "reasoning")
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
NUMBER = (int, float)
TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,), "stream": (bool,), "seed": (int,), "n": (int,), "stop": (str, list),
    "temperature": NUMBER, "top_p": NUMBER, "frequency_penalty": NUMBER, "presence_penalty": NUMBER,
    "logit_bias": (dict,), "tools": (list,), "instructions": (str,),
}  # fmt: skip
# programs and settings of the server's that a client could write into its request
NOT_TAKEN = ("chat_template", "generation_config", "media_io_kwargs")
TEMPLATE = ("enable_thinking", "thinking")


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
    _check_fields(request, limits)
    name = "messages" if path == CHAT else "input"
    found = []
    for message in _messages(request.get(name), name):
        found += _media(message.get("content"))
        if "output" in message:
            found += _media(message["output"])
        if len(found) > limits.max_media:
            raise Refusal(400, f"more than {limits.max_media} pictures and clips in one request")
    return found


def _check_fields(request: dict[str, Any], limits: Limits) -> None:
    read_setting(request)
    if taken := [name for name in NOT_TAKEN if request.get(name) is not None]:
        raise Refusal(400, f"{' and '.join(taken)} cannot be set by a request here")
    template = request.get("chat_template_kwargs")
    if template is not None and not (isinstance(template, dict) and set(template) <= {*TEMPLATE}):
        allowed = " and ".join(TEMPLATE)
        raise Refusal(400, f"chat_template_kwargs takes {allowed}, got {_short(template)}")
    for name in LENGTHS:
        length, most = request.get(name), limits.max_answer_tokens
        if length is not None and not (type(length) is int and 0 < length <= most):
            raise Refusal(400, f"{name} must be 1 to {most}, got {_short(length)}")
    for name, types in TYPES.items():
        value = request.get(name)
        if value is not None and type(value) not in types:
            allowed = " or ".join(kind.__name__ for kind in types)
            raise Refusal(400, f"{name} must be {allowed}, got {_short(value)}")


def _messages(given: Any, name: str) -> list[dict[str, Any]]:
    """The messages of a request; a response's input may also be a text, or the parts of one message."""
    if isinstance(given, str) and name == "input":
        return []
    if not isinstance(given, list) or not given:
        raise Refusal(400, f"{name} must be a list of at least one message, got {_short(given)}")
    if wrong := [message for message in given if not isinstance(message, dict)]:
        raise Refusal(400, f"each of {name} must be an object, got {_short(wrong[0])}")
    if name == "input" and "role" not in given[0] and given[0].get("type") not in CALLS:
        return [{"role": "user", "content": given}]
    for message in given:
        calls = name == "input" and message.get("type") in CALLS
        if not calls and not isinstance(message.get("role"), str):
            raise Refusal(400, f"each of {name} needs a role, got {_short(message.get('role'))}")
    return given


def _media(content: Any) -> Iterator[Medium]:
    """The pictures and clips in the content of a message."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(400, f"content must be a text or a list of parts, got {_short(content)}")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in SHOWS:
            yield _medium(part, SHOWS[kind])
        elif kind not in (*TEXTS, "reasoning_text"):
            allowed = ", ".join((*TEXTS, *SHOWS))
            raise Refusal(400, f"a part of content has a type of {allowed}; got {_short(part)}")
        elif not isinstance(part.get("text"), str):
            raise Refusal(400, f"a part of type {kind} needs a text, got {_short(part)}")


def _medium(part: dict[str, Any], key: str) -> Medium:
    """The picture or clip of a part; a URL stands under the key itself, or under `url` of an object."""
    kind = "clip" if key == "video_url" else "picture"
    place, inner = part, key
    if isinstance(part.get(key), dict):
        place, inner = part[key], "url"
    if not isinstance(place.get(inner), str):
        raise Refusal(400, f'{key} must be {{"url": "data:..."}}, got {_short(part.get(key))}')
    if others := (set(part) | set(place)) - {key, inner, *TOGETHER}:
        raise Refusal(400, f"a {kind} takes no {', '.join(sorted(others))[:200]} here")
    return Medium(place, inner, kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
