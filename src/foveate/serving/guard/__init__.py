"""`Guard`: ASGI middleware in front of a server of vision-language models, for requests of strangers.

    vllm serve MODEL --middleware foveate.serving.guard.Guard

What passes it was parsed and written again, its pictures decoded once; the server behind sees neither a
path nor a URL of the client's. `Limits` says how much a request may bring.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from foveate.errors import InputError
from foveate.serving.asgi import (
    App,
    DisconnectedError,
    Receive,
    Refusal,
    Scope,
    Send,
    fail_to_start,
    header,
    parse,
    path_of,
    read_body,
    refuse,
    replay,
    with_body,
    written,
)
from foveate.serving.guard.fetching import fetched, is_url
from foveate.serving.guard.limits import Limits
from foveate.serving.guard.media import check_media, data_url
from foveate.serving.guard.request import PATHS, Medium, media_of

THREADS = 2  # that decode pictures: so many are in memory at once
FETCHES = 16  # threads that wait for URLs
READS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses, with one sentence, what a server should not be shown.

    POST is let through to `PATHS` alone, GET everywhere, websockets nowhere.

    Args:
        app: the server.
        limits: by default those of the environment, `Limits.from_environment`; a variable that is no
            limit fails the server's start.
    """

    def __init__(self, app: App, limits: Limits | None = None) -> None:
        self.app, self._wrong = app, ""
        try:
            self.limits = limits or Limits.from_environment()
        except InputError as error:
            self._wrong = str(error)
        self._threads = ThreadPoolExecutor(THREADS, "foveate guard")
        self._fetches = ThreadPoolExecutor(FETCHES, "foveate guard URLs")
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if self._wrong:
            return await fail_to_start(scope, receive, send, self._wrong)
        if scope["type"] == "lifespan" or scope.get("method") in READS:
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        if self._requests >= self.limits.max_requests:
            sentence = f"{self._requests} requests are under way, the most allowed here"
            return await refuse(send, 503, sentence, [(b"retry-after", b"1")])
        self._requests += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._requests -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._checked(scope, receive)
        except Refusal as refusal:
            return await refuse(send, refusal.status, str(refusal))
        except DisconnectedError:
            return None
        return await self.app(with_body(scope, body), replay(body, receive), send)

    async def _checked(self, scope: Scope, receive: Receive) -> bytes:
        """The body that is handed on.

        Raises:
            Refusal: nothing is.
            DisconnectedError: the client hung up.
        """
        path, limits = path_of(scope), self.limits
        if path not in PATHS:
            raise Refusal(404, f"POST is answered at {' and '.join(PATHS)}, got {path[:80]!r}")
        kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, f"content-type must be application/json, got {kind[:80]!r}")
        try:
            async with asyncio.timeout(limits.max_seconds):
                body = await read_body(scope, receive, limits.max_body_bytes)
        except TimeoutError:
            sentence = f"the body did not come within {limits.max_seconds} seconds"
            raise Refusal(408, sentence) from None

        request = await asyncio.to_thread(parse, body)
        media = media_of(request, path, limits)
        await self._fetch([medium for medium in media if is_url(medium.url)])
        if media:
            decoded = self._threads.submit(check_media, media, limits)
            await asyncio.wrap_future(decoded)
        return await asyncio.to_thread(written, request)

    async def _fetch(self, behind: list[Medium]) -> None:
        """Put what is behind URLs in their place.

        Raises:
            Refusal: URLs are not allowed, or cannot be fetched.
        """
        if not behind:
            return
        if not self.limits.allow_urls:
            raise Refusal(
                400,
                "URLs are not fetched here: send data:...;base64,... (the server allows them by "
                f"FOVEATE_ALLOW_URLS=1); got {behind[0].url[:60]!r}",
            )
        # as much as a body could have brought, in base64
        left, end = self.limits.max_body_bytes // 4 * 3, monotonic() + self.limits.max_seconds
        for medium in behind:
            data = await asyncio.wrap_future(self._fetches.submit(_in_time, medium.url, left, end))
            left -= len(data)
            medium.url = data_url("application/octet-stream", data)


def _in_time(url: str, most: int, end: float) -> bytes:
    """What is behind a URL, unless its time was over before a thread was free for it."""
    seconds = end - monotonic()
    if seconds <= 0:
        raise Refusal(400, f"the URLs took too long; no time is left for {url[:80]!r}")
    return fetched(url, most, seconds)
