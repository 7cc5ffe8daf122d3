"""A simulated engine with continuous batching, and the same controllers as a server's in front of it.

Time is simulated: an event is a request that comes, or a step of an engine that ends. A step takes first
what decodes, a token each, then prompts in the order in which they came, cut where the step is full; so
vLLM schedules with chunked prefill.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from serving_law import Law

from foveate.serving.budget.controller import Controller, Ticket

STEP_TOKENS, SEQUENCES = 8192, 256  # of a step, at most


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: of it.
        share: of all requests.
        views: that are encoded.
        tokens: visual tokens and text at the LLM's input, for each choice of the ladder.
        works_ms: the cost model's time for each choice.
    """

    name: str
    share: float
    views: float
    tokens: tuple[int, ...]
    works_ms: tuple[float, ...]


@dataclass
class Sent:
    """A request that was sent.

    Attributes:
        kind: of it.
        at_ms: when.
        answer: how many tokens it will say.
        streams: whether its first token is seen.
        choice: what was chosen for it.
        held: what was told in its header.
        first_ms: from sending it to its first token.
        end_ms: when its answer was complete.
    """

    kind: Kind
    at_ms: float
    answer: int
    streams: bool
    choice: int = 0
    held: bool | None = None
    first_ms: float = 0.0
    end_ms: float = 0.0
    left: float = 0.0  # of its prompt
    ticket: Ticket | None = None
    controller: Controller | None = None


@dataclass
class Engine:
    """One engine.

    Attributes:
        law: of its steps.
        noise: relative deviation of a step's time.
        slower: factor on its steps by the time, such as a neighbour causes.
    """

    law: Law
    rng: np.random.Generator
    noise: float = 0.1
    slower: Callable[[float], float] = lambda ms: 1.0
    waiting: deque[Sent] = field(default_factory=deque)
    speaking: list[tuple[int, int, Sent]] = field(default_factory=list)  # by the step of their end
    steps: int = 0
    busy: bool = False
    filled: list[Sent] = field(default_factory=list)  # whose prompt ends in this step

    def start(self, now: float) -> float:
        """Begin a step; when it will end."""
        self.steps, self.busy = self.steps + 1, True
        room, views, prefilled = STEP_TOKENS - len(self.speaking), 0.0, 0.0
        self.filled = []
        while self.waiting and room > 0 and len(self.speaking) + len(self.filled) < SEQUENCES:
            one = self.waiting[0]
            if one.left == one.kind.tokens[one.choice]:
                views += one.kind.views
            part = min(room, one.left)
            one.left, room, prefilled = one.left - part, room - part, prefilled + part
            if one.left <= 0:
                self.filled.append(self.waiting.popleft())
        ms = self.law.step_ms(views, prefilled, len(self.speaking)) * self.slower(now)
        return now + ms * math.exp(self.noise * float(self.rng.standard_normal()))

    def end(self, now: float) -> list[Sent]:
        """End a step; the requests whose answer is complete."""
        self.busy = False
        for one in self.filled:
            one.first_ms = now - one.at_ms
            if one.controller and one.ticket and one.streams:
                one.controller.first_token(one.ticket, now)
            heapq.heappush(self.speaking, (self.steps + one.answer - 1, id(one), one))
        done = []
        while self.speaking and self.speaking[0][0] <= self.steps:
            done.append(heapq.heappop(self.speaking)[2])
        for one in done:
            one.end_ms = now
            if one.controller and one.ticket:
                one.controller.leave(one.ticket, now)
        return done


def serve(
    requests: Sequence[Sent], engines: Sequence[Engine], controllers: Sequence[Controller | int]
) -> None:
    """Serve requests in order of their time, each by the next controller and the least busy engine.

    Args:
        requests: which get what was measured of them.
        engines: behind them all.
        controllers: one of each API process; a number stands for always that choice.
    """
    events: list[tuple[float, int, int]] = [
        (one.at_ms, 0, number) for number, one in enumerate(requests)
    ]
    heapq.heapify(events)
    while events:
        now, what, number = heapq.heappop(events)
        if what == 0:  # a request comes
            _admit(requests[number], controllers[number % len(controllers)], now)
            heapq.heappush(events, (now + engines[0].law.other_ms, 1, number))
            continue
        if what == 1:  # it reaches an engine
            one = requests[number]
            place = min(range(len(engines)), key=lambda n: len(engines[n].waiting))
            engines[place].waiting.append(one)
        else:  # a step ends
            place = number
            engines[place].end(now)
        engine = engines[place]
        if not engine.busy and (engine.waiting or engine.speaking):
            heapq.heappush(events, (engine.start(now), 2, place))


def _admit(one: Sent, controller: Controller | int, now: float) -> None:
    if isinstance(controller, int):
        one.choice = controller
    else:
        one.controller = controller
        one.ticket = controller.admit(one.kind.works_ms, now, streams=one.streams)
        one.choice, one.held = one.ticket.choice, one.ticket.held
    one.left = one.kind.tokens[one.choice]
