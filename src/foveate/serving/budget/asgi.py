"""The middleware: a budget for each chat request, so that a time to the first token is held."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from foveate.errors import FoveateError, InputError
from foveate.reduction import Reduction
from foveate.serving.asgi import (
    App,
    DisconnectedError,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    fail_to_start,
    header,
    path_of,
    read_body,
    refuse,
    replay,
    with_body,
)
from foveate.serving.budget.body import (
    Asked,
    own_budget,
    parsed,
    read,
    reduction_of,
    stripped,
    told_keep,
    with_budget,
)
from foveate.serving.budget.controller import Controller, Ticket
from foveate.serving.budget.estimate import Work
from foveate.serving.budget.metrics import metrics
from foveate.serving.budget.settings import Settings, from_environment
from foveate.serving.field import CHAT, KEY

LOG = logging.getLogger(__name__)
HEADER = b"x-foveate-budget"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a request.

    Attributes:
        budget: that is written into it, as `{"foveate": ...}`; empty where none is.
        keep: its share of visual tokens, as it is told; "?" for a client's without one.
        by: who chose it: "target", "client", or, where there is no target, "server".
        ticket: of the request in flight; None where nothing is predicted.
        stripped: how many other kwargs of the client's were taken out.
    """

    budget: Mapping[str, Any]
    keep: str
    by: str
    ticket: Ticket | None = None
    stripped: int = 0

    @property
    def held(self) -> bool | None:
        """Whether the target is predicted to be met; None where that is not known.

        What the server plans within a budget of a client's is not: a plan takes longer than a choice may.
        """
        planned = "budget" in (self.budget.get(KEY) or {})
        return None if self.ticket is None or planned else self.ticket.held

    @property
    def header(self) -> str:
        """`0.25; method=aim-merge; by=target; held=yes`."""
        told = [self.keep]
        written = self.budget.get(KEY) or {}
        if "method" in written:
            told.append(f"method={written['method']}")
        told.append(f"by={self.by}")
        if self.held is not None:
            told.append(f"held={'yes' if self.held else 'no'}")
        if self.stripped:
            told.append(f"stripped={self.stripped}")
        return "; ".join(told)


class Budget:
    """ASGI middleware, such as `vllm serve --middleware foveate.serving.budget.Budget` takes.

    Args:
        app: the server.
        clock: seconds that only go forward.
        **settings: fields of `Settings`; without any they are read from the environment, and what is
            wrong there fails the server's start.

    Raises:
        InputError: settings that are refused.
        UnsupportedError: a family whose visual tokens cannot be told from its config.
    """

    def __init__(
        self, app: App, *, clock: Callable[[], float] = time.monotonic, **settings: Any
    ) -> None:
        self.app, self.clock, self.refusal = app, clock, ""
        self.settings, self.estimator = Settings(), None
        try:
            self.settings = Settings(**settings) if settings else from_environment()
            self.estimator = self.settings.estimator()
        except FoveateError as error:
            if settings:
                raise
            self.refusal = str(error)  # a server makes its middleware where an exception is lost
            LOG.error("%s", error)
        self.reductions = self.settings.reductions()
        self.controller = Controller(self.settings.ttft_ms)
        self.metrics = metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if self.refusal:
            await fail_to_start(scope, receive, send, self.refusal)
        elif scope["type"] != "http" or scope["method"] != "POST" or _is_form(scope):
            await self.app(scope, receive, send)
        else:
            await self._post(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, self.settings.max_body_bytes)
            fields = parsed(body)
            if fields is None:  # no object: the server's to refuse
                await self.app(scope, replay(body, receive), send)
                return
            asked = read(fields) if path_of(scope) == CHAT else None
            own, cleaned = own_budget(fields), stripped(body, fields)
        except DisconnectedError:
            return
        except InputError as error:
            await refuse(send, error.status if isinstance(error, Refusal) else 400, str(error))
            return
        choice = Choice(own, "?", "client") if asked is None else self._choose(asked)
        with self._counted(choice.ticket):
            changed = with_budget(cleaned, choice.budget)
            if changed is not body:
                scope = with_body(scope, changed)
            if asked is not None:
                send = self._watched(send, choice, shown=asked.shown)
            await self.app(scope, replay(changed, receive), send)

    def _choose(self, asked: Asked) -> Choice:
        """For a request with pictures its budget; one of text alone is only counted."""
        by_target = asked.shown and not asked.own and self.settings.ttft_ms is not None
        own = reduction_of(asked.own.get(KEY))
        reductions = self.reductions if by_target else [own]
        works = self._works(asked, reductions)
        ticket = self.controller.admit(
            [work.ms for work in works], 1000 * self.clock(), streams=asked.streams
        )
        budget, keep, by = asked.own, "default", "server"
        if by_target:
            share = self.settings.ladder[ticket.choice]
            budget, keep, by = {KEY: self.settings.budget(share)}, f"{share:g}", "target"
        elif asked.own:
            keep, by = told_keep(asked.own[KEY], own), "client"
        choice = Choice(budget, keep, by, ticket, asked.stripped)
        if asked.shown:
            self._tell(choice, asked, works[ticket.choice])
        return choice

    def _works(self, asked: Asked, reductions: Sequence[Reduction]) -> list[Work]:
        if self.estimator is None:  # then there is no target either
            return [Work(0.0, 0) for _ in reductions]
        return self.estimator.works(asked, reductions)

    def _tell(self, choice: Choice, asked: Asked, work: Work) -> None:
        unreduced = self._works(asked, [Reduction()])[0]
        keep = "own" if choice.by == "client" else choice.keep  # a client must not make up labels
        self.metrics.admitted(keep, choice.by, unreduced.visual_tokens, work.visual_tokens)
        if choice.held is not None:
            self.metrics.foretold(held=choice.held)

    @contextmanager
    def _counted(self, ticket: Ticket | None) -> Iterator[None]:
        """A request is in flight until it is answered, its client has gone, or the server failed."""
        try:
            yield
        finally:
            if ticket is not None:
                self.controller.leave(ticket, 1000 * self.clock())
                self.metrics.state(self.controller)

    def _watched(self, send: Send, choice: Choice, *, shown: bool) -> Send:
        """See the first token of an answer, or its end, and put the header in front."""
        ticket, good = choice.ticket, False

        async def watch(message: Message) -> None:
            nonlocal good
            if message["type"] == "http.response.start":
                good = message["status"] == 200
                if shown:
                    headers = [*message.get("headers", ()), (HEADER, choice.header.encode())]
                    message = {**message, "headers": headers}
            elif good and ticket is not None:
                self._see(message, ticket)
            await send(message)

        return watch

    def _see(self, message: Message, ticket: Ticket) -> None:
        if ticket.streams and ticket.waiting and _is_token(message):
            self._first_token(ticket)
        elif not ticket.streams and not message.get("more_body"):
            self.metrics.answered(self.clock() - ticket.arrived_ms / 1000)

    def _first_token(self, ticket: Ticket) -> None:
        now = 1000 * self.clock()
        held = self.controller.first_token(ticket, now)
        self.metrics.measured((now - ticket.arrived_ms) / 1000, held)
        self.metrics.state(self.controller)


def _is_form(scope: Scope) -> bool:
    """Uploads of files, whose bodies are not read."""
    return (header(scope, b"content-type") or "").lower().startswith("multipart/")


def _is_token(message: Message) -> bool:
    """Whether a part of a stream brings a token: it is not empty, and no error."""
    body = message.get("body", b"")
    return bool(body) and b'"error"' not in body[:24]
