"""The fields of a request beside its messages: which are handed on, their types and ranges."""

from collections.abc import Mapping
from typing import Any

from foveate.serving.asgi import Refusal
from foveate.serving.guard.limits import Limits
from foveate.serving.setting import read_setting

LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,), "stream": (bool,), "stop": (str, list), "logit_bias": (dict,), "tools": (list,),
    "instructions": (str,),
}  # fmt: skip
WHOLE, NUMBER = (int,), (int, float)
RANGES: dict[str, tuple[tuple[type, ...], int, int]] = {
    "n": (WHOLE, 1, 16), "seed": (WHOLE, -(2**63), 2**63 - 1), "temperature": (NUMBER, 0, 2),
    "top_p": (NUMBER, 0, 1), "frequency_penalty": (NUMBER, -2, 2), "presence_penalty": (NUMBER, -2, 2),
}  # fmt: skip
MOST_STOPS, LONGEST_STOP = 16, 256
MOST_BIAS = 100
# programs and settings of the server's that a client could write into its request
NOT_TAKEN = ("chat_template", "generation_config", "media_io_kwargs")
TEMPLATE = ("enable_thinking", "thinking")


def check_fields(request: Mapping[str, Any], limits: Limits) -> None:
    """Look at all fields but the messages.

    Args:
        request: the body of a chat completion or response.
        limits: of the request.

    Raises:
        Refusal: 400, a field that is not handed on, of another type, or out of its range.
    """
    read_setting(request)
    if taken := [name for name in NOT_TAKEN if request.get(name) is not None]:
        raise Refusal(400, f"{' and '.join(taken)} cannot be set by a request here")
    template = request.get("chat_template_kwargs")
    if template is not None and not (isinstance(template, dict) and set(template) <= {*TEMPLATE}):
        allowed = " and ".join(TEMPLATE)
        raise Refusal(400, f"chat_template_kwargs takes {allowed}, got {short(template)}")
    for name, types in TYPES.items():
        _check_type(request, name, types)
    for name, (types, least, most) in RANGES.items():
        _check_type(request, name, types)
        _check_range(request, name, least, most)
    for name in LENGTHS:
        if request.get(name) is not None and type(request[name]) is not int:
            raise Refusal(400, f"{name} must be int, got {short(request[name])}")
        _check_range(request, name, 1, limits.max_answer_tokens)
    _check_stop(request.get("stop"))
    _check_bias(request.get("logit_bias") or {})
    _check_tools(request.get("tools") or [])


def short(value: Any) -> str:
    """A value as an error tells it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_type(request: Mapping[str, Any], name: str, types: tuple[type, ...]) -> None:
    value = request.get(name)
    if value is not None and type(value) not in types:
        allowed = " or ".join(kind.__name__ for kind in types)
        raise Refusal(400, f"{name} must be {allowed}, got {short(value)}")


def _check_range(request: Mapping[str, Any], name: str, least: int, most: int) -> None:
    value = request.get(name)
    if value is not None and not least <= value <= most:
        raise Refusal(400, f"{name} must be {least} to {most}, got {short(value)}")


def _check_stop(stop: Any) -> None:
    texts = [stop] if isinstance(stop, str) else stop or []
    fine = all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in texts)
    if not fine or len(texts) > MOST_STOPS:
        raise Refusal(
            400,
            f"stop must be a text of 1 to {LONGEST_STOP} letters, or at most {MOST_STOPS} of them, got "
            f"{short(stop)}",
        )


def _check_bias(biases: Mapping[str, Any]) -> None:
    for token, bias in biases.items():
        if not token.isdecimal() or len(token) > 9:
            raise Refusal(400, f"logit_bias is by a token's number, got {short(token)}")
        if type(bias) not in NUMBER or not -MOST_BIAS <= bias <= MOST_BIAS:
            raise Refusal(
                400, f"logit_bias must be {-MOST_BIAS} to {MOST_BIAS} each, got {short(bias)}"
            )


def _check_tools(tools: list[Any]) -> None:
    """Either API's: what a function is stands in `function`, or beside `type`."""
    for tool in tools:
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise Refusal(400, f"each of tools must be an object with a type, got {short(tool)}")
        function = tool.get("function", tool)
        named = isinstance(function, dict) and isinstance(function.get("name"), str)
        if tool["type"] == "function" and not named:
            raise Refusal(400, f"a tool that is a function needs a name, got {short(tool)}")
        if isinstance(function, dict) and not isinstance(function.get("parameters") or {}, dict):
            raise Refusal(400, f"parameters of a tool must be an object, got {short(tool)}")
