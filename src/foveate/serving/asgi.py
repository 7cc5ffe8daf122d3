"""The pieces of ASGI that middleware here shares: a JSON body read under a limit, replaced, refused.

async def __call__(self, scope, receive, send):
    try:
        body = await read_body(scope, receive, limit)
        request = parse(body)
    except Refusal as refusal:
        return await refuse(send, refusal.status, str(refusal))
    except DisconnectedError:
        return None
    new = written(request)
    await self.app(with_body(scope, new), replay(new, receive), send)
"""

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from foveate.errors import FoveateError, InputError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
MAX_BODY_BYTES = 32 * 2**20
KINDS = {401: "authentication_error", 413: "request_too_large", 503: "server_busy"}  # of errors


class Refusal(InputError):
    """A request that is refused.

    Args:
        status: of HTTP, 400 to 599.
        sentence: what was wrong, what was given, what is allowed.

    Attributes:
        status: as given.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class DisconnectedError(FoveateError):
    """The client hung up before its request was whole."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body of a request; at most `limit` bytes of it are held at any time.

    Args:
        scope: of the request.
        receive: of the request; what follows the body is left in it.
        limit: most bytes.

    Raises:
        Refusal: 413, a body that is longer, as soon as that is known; 400, a length that is no number.
        DisconnectedError: the client hung up.
    """
    declared = header(scope, b"content-length") or "0"
    if not declared.isdecimal():
        raise Refusal(400, f"content-length must be a number of bytes, got {declared[:40]!r}")
    body, size, more = bytearray(), int(declared[:19]), True
    while more and size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError("the client hung up before its request was whole")
        body += message.get("body", b"")
        size, more = max(size, len(body)), message.get("more_body", False)
    if size > limit:
        raise Refusal(
            413, f"the body has more than {limit:,} bytes, which is the most allowed here"
        )
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds, strictly: no NaN, no infinity, no name twice.

    Raises:
        Refusal: 400, anything else.
    """
    try:
        found = json.loads(
            body, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body must be one JSON object: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise Refusal(400, f"the body must be one JSON object, got {type(found).__name__}")
    return found


def written(request: dict[str, Any]) -> bytes:
    """A request as the bytes of its body, letters as they are: escapes would take twice the bytes."""
    try:
        return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which UTF-8 does not have
        return json.dumps(request, separators=(",", ":")).encode()


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a request's header, given in lower case; None if it is missing."""
    found = next((value for key, value in scope["headers"] if key.lower() == name), None)
    return None if found is None else found.decode("latin-1")


def path_of(scope: Scope) -> str:
    """The path of a request, as the server that is mounted somewhere sees it."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


def with_body(scope: Scope, body: bytes) -> Scope:
    """The scope of a request whose body was replaced: a copy that tells the new length."""
    lengths = (b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in lengths]
    return {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body in one piece, then what the client does next: hang up.

    Args:
        body: of the request, whole.
        receive: from which the client's own body has been read.
    """
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def refuse(send: Send, status: int, sentence: str, headers: Headers = ()) -> None:
    """Answer with an error in the form of OpenAI's API.

    Args:
        send: of the request, which has not been answered yet.
        status: of HTTP, 400 to 599.
        sentence: for the client.
        headers: further ones, names in lower case.
    """
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = written({"error": {"message": sentence, "type": kind, "code": status}})
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*own, *headers]},
    )
    await send({"type": "http.response.body", "body": body})


async def fail_to_start(scope: Scope, receive: Receive, send: Send, sentence: str) -> None:
    """Fail the server's start, and every request of a server that starts all the same.

    Servers make their middleware where an exception of its constructor is lost.

    Args:
        scope: of the start, or of a request.
        receive: of the same.
        send: of the same.
        sentence: what is wrong, for the operator.

    Raises:
        InputError: at a request.
    """
    if scope["type"] != "lifespan":
        raise InputError(sentence)
    await receive()
    await send({"type": "lifespan.startup.failed", "message": sentence})


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} stands twice in one object")
    return found
