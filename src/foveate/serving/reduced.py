"""A reduction for exactly one request: carried from its body to the `generate` that answers it.

`Settings` takes what is asked for out of the body and puts an `Asked` into the context of the request;
whoever generates in that context takes it along to the thread that does it (`ReducedModel`), and tells
there when the prompt has been read, or why it was not. So the status and a header of every answer know
what became of its visual tokens, also of one that streams.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from transformers import StoppingCriteriaList

from foveate.ask.stream import Closed
from foveate.cost.hardware import Machine
from foveate.errors import FoveateError, InputError
from foveate.report import Report
from foveate.runtime.run import Run
from foveate.serving.asgi import (
    App,
    DisconnectedError,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    parse,
    path_of,
    read_body,
    refuse,
    replay,
    with_body,
    written,
)
from foveate.serving.field import KWARGS
from foveate.serving.setting import Setting, read_setting

LOG = logging.getLogger(__name__)
HEADER = b"x-foveate-visual-tokens"
STREAM = b"text/event-stream"
_asked: ContextVar["Asked | None"] = ContextVar("foveate_asked", default=None)


class Asked:
    """What one request asks for, and what became of it.

    Args:
        setting: that it asks for.

    Attributes:
        setting: as given.
        gone: set when nobody waits for the answer any more.
        prefilled: the report of its prompt, None of one without pictures; or the error that ended it.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.gone = setting, threading.Event()
        self.prefilled: Future[Report | None] = Future()
        self.prefilled.set_running_or_notify_cancel()  # whoever waits for it must not cancel it

    def tell(self, run: Run) -> None:
        """The prompt has been read."""
        if not self.prefilled.done():
            report = run.reports[-1] if run.reports else None
            if report is not None:
                LOG.info("%s: %s", self.setting, report.summary)
            self.prefilled.set_result(report)

    def fail(self, error: BaseException) -> None:
        """No answer will come, or no more of it."""
        if not self.prefilled.done():
            self.prefilled.set_exception(error)


def asked_here() -> Asked:
    """What the request of this context asks for.

    Raises:
        InputError: no request is answered here.
    """
    asked = _asked.get()
    if asked is None:
        raise InputError("no request is answered in this context")
    return asked


class ReducedModel:
    """A model whose `generate` does what one request asks for; otherwise the model itself.

    Args:
        model: that answers.
        asked: by the request.
        machine: that it runs on, for a budget in time.
    """

    def __init__(self, model: Any, asked: Asked, machine: Machine | str | None) -> None:
        self._model, self._asked, self._machine = model, asked, machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(
        self, *, generation_config: Any, streamer: Any = None, tokenizer: Any = None, **given: Any
    ) -> Any:
        """`model.generate` within the request's reduction, until the client is gone.

        A streamer is told of the end when the reduction has been left, which may still find an error.

        Args:
            generation_config: of the request.
            streamer: that gets the tokens.
            tokenizer: that stops at texts; or its processor, as transformers' server hands it over.
            **given: as of the model's own.
        """
        asked, length = self._asked, generation_config.max_new_tokens or 1
        try:
            if asked.gone.is_set():
                raise DisconnectedError("the client hung up before its answer was begun")
            with asked.setting.opened(self._model, self._machine, length) as run:
                output = self._model.generate(
                    **given,
                    generation_config=generation_config,
                    tokenizer=getattr(tokenizer, "tokenizer", tokenizer),
                    streamer=streamer and _Pieces(streamer, lambda: asked.tell(run)),
                    stopping_criteria=StoppingCriteriaList([Closed(asked.gone)]),
                )
            asked.tell(run)
        except BaseException as error:  # any kind: it is raised again, here and to who waits
            asked.fail(error)
            raise
        if streamer is not None:
            streamer.end()
        return output


class _Pieces:
    """A streamer that tells when the first token is there, and is not told of the end."""

    def __init__(self, streamer: Any, begun: Callable[[], None]) -> None:
        self._streamer, self._begun, self._calls = streamer, begun, 0

    def put(self, value: Any) -> None:
        self._calls += 1
        if self._calls == 2:  # the first call brings the prompt, before it is read
            self._begun()
        self._streamer.put(value)

    def end(self) -> None:
        pass


class Settings:
    """ASGI middleware that takes what a request asks for out of its body.

    Args:
        app: the server, which generates by a `ReducedModel` of `asked_here`.
        paths: that are answered by generating.
        default: what is done for a request that asks for nothing.
        check: refuses what the model cannot do, by an error.
    """

    def __init__(
        self, app: App, paths: tuple[str, ...], default: Setting, check: Callable[[Setting], None]
    ) -> None:
        self.app, self.paths, self.default, self.check = app, paths, default, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope.get("method") != "POST" or path_of(scope) not in self.paths:
            return await self.app(scope, receive, send)
        try:
            request = parse(await read_body(scope, receive, sys.maxsize))  # `Guard` counted it
            asked = Asked(read_setting(request) or self.default)
            self.check(asked.setting)
        except DisconnectedError:
            return None
        except FoveateError as error:
            return await refuse_for(send, error)
        request.pop(KWARGS, None)
        return await self._answer(asked, written(request), scope, receive, send)

    async def _answer(
        self, asked: Asked, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # the client has said all that it has to say: what comes is that it hangs up
        hung_up = asyncio.ensure_future(receive())
        hung_up.add_done_callback(lambda _: asked.gone.set())

        async def after() -> Message:
            return await asyncio.shield(hung_up)

        token = _asked.set(asked)
        try:
            await self.app(with_body(scope, body), replay(body, after), _telling(asked, send))
        finally:
            _asked.reset(token)
            hung_up.cancel()
            asked.gone.set()


def _telling(asked: Asked, send: Send) -> Send:
    """A `send` that begins an answer when its prompt has been read, with what became of it."""
    refused = False

    async def telling(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] == 200:
            message = {**message, "headers": list(message.get("headers", ()))}
            if any(value.startswith(STREAM) for _, value in message["headers"]):
                try:
                    await asyncio.wrap_future(asked.prefilled)
                except Exception as error:  # any kind: a model may fail in any way
                    refused = True
                    return await refuse_for(send, error)
            message["headers"] += _header(asked)
        if not refused:
            await send(message)
        return None

    return telling


def _header(asked: Asked) -> list[tuple[bytes, bytes]]:
    report = asked.prefilled.result() if asked.prefilled.done() else None
    if report is None:
        return []
    before, after = sum(report.visual_tokens_in), sum(report.visual_tokens_to_llm)
    return [(HEADER, f"before={before}, after={after}".encode())]


async def refuse_for(send: Send, error: Exception) -> None:
    """Answer with an error: foveate's own in its words, any other without.

    Args:
        send: of the request, which has not been answered yet.
        error: that ended it.
    """
    if isinstance(error, Refusal):
        await refuse(send, error.status, str(error))
    elif isinstance(error, FoveateError):
        await refuse(send, 400, " ".join(str(error).split()))
    else:
        LOG.error("a request failed", exc_info=error)
        await refuse(send, 500, "the model failed to answer this request")
