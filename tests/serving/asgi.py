"""A server and a client of ASGI, by hand: as much of them as a middleware sees."""

import asyncio
import base64
import io
import json
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from foveate.serving.field import CHAT


def data_url(height: int = 48, width: int = 64, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 200)).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chat(*urls: str, text: str = "What is this?", **more: Any) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*shown, {"type": "text", "text": text}]
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


@dataclass
class Clock:
    """Seconds that a test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """Answers with some parts, and remembers what it was asked.

    `waits` are seconds of the clock before each part; `gate`, if there is one, is waited for before the
    first part; `fails` raises before any answer.
    """

    clock: Clock
    parts: tuple[bytes, ...] = (b"data: a\n\n", b"data: b\n\n")
    waits: tuple[float, ...] = (0.2, 0.1)
    status: int = 200
    fails: bool = False
    gate: asyncio.Event | None = None
    bodies: list[bytes] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        self.bodies.append(await self.body(receive))
        if self.fails:
            raise RuntimeError("the engine died")
        if self.gate is not None:
            opened = asyncio.ensure_future(self.gate.wait())
            left = asyncio.ensure_future(receive())
            done, _ = await asyncio.wait({opened, left}, return_when="FIRST_COMPLETED")
            if left in done:  # the client went away
                return
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [(b"x", b"y")]}
        )
        for part, wait in zip(self.parts, self.waits, strict=True):
            self.clock.now += wait
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def body(self, receive: Any) -> bytes:
        parts, more = [], True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    @property
    def asked(self) -> dict[str, Any]:
        """The last body."""
        return json.loads(self.bodies[-1])


@dataclass
class Answer:
    """What a client got."""

    messages: list[dict[str, Any]]

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def budget(self) -> str | None:
        return self.headers.get("x-foveate-budget")

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def post(
    app: Any,
    body: bytes | dict[str, Any],
    path: str = CHAT,
    *,
    method: str = "POST",
    pieces: int = 1,
    leaves: asyncio.Event | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),),
    root_path: str = "",
) -> Answer:
    """Send a request in some pieces; the client goes away when `leaves` is set."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = -(-len(raw) // pieces) or 1
    cut = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]
    inbox = [{"type": "http.request", "body": part, "more_body": True} for part in cut]
    inbox[-1]["more_body"] = False
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if inbox:
            return inbox.pop(0)
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "root_path": root_path, "query_string": b"",
        "headers": [*headers, (b"content-length", str(len(raw)).encode())],
    }  # fmt: skip
    await app(scope, receive, send)
    return Answer(got)
