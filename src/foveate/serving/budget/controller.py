"""The controller: which share of its visual tokens a request keeps, from what is in flight.

Nothing here reads a clock or a request: work comes in as milliseconds of the cost model, and time as
milliseconds of any clock that only goes forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from foveate.serving.budget.correction import Correction

LADDER = (
    1.0,
    0.5,
    0.25,
    0.125,
    0.0625,
)  # shares of visual tokens to choose from, the largest first
HELD_SHARE = 0.95  # of requests that are to meet the target
LEAST_ROOM = 0.1
ROOM_STEP = 0.04  # how far a missed target moves `Controller.room`, when many were seen
ROOM_FIRST = 4  # the first moves it by a quarter, the second by a fifth, and so on


@dataclass(eq=False)
class Ticket:
    """A request in flight.

    Attributes:
        choice: which of its choices was taken.
        work_ms: what that takes by the cost model.
        ahead_ms: work that was in front of it by the cost model.
        predicted_ms: to its first token.
        held: whether that meets the target; None without a target.
        can_hold: whether its cheapest choice alone, with nothing in front, would meet it.
        choices: how many it had.
        arrived_ms: when it came.
        streams: whether its first token will be seen.
        waiting: whether its first token is still to come.
    """

    choice: int
    work_ms: float
    ahead_ms: float
    predicted_ms: float
    held: bool | None
    can_hold: bool
    choices: int
    arrived_ms: float
    streams: bool
    waiting: bool = True


@dataclass
class Controller:
    """Chooses for each request, and learns from each first token.

    Attributes:
        target_ms: to hold for 19 of 20 requests; None leaves every request as it is.
        correction: of the cost model's times.
        room: share of the target that predictions may fill. What comes after a request was chosen for is
            not known, so where more than 1 request of 20 misses the target, room falls; slowly, because
            what it is for, bursts, comes rarely.
        tuned: how many requests moved it.
        in_flight: requests that have not ended.
    """

    target_ms: float | int | None = None
    correction: Correction = field(default_factory=Correction)
    room: float = 1.0
    tuned: int = 0
    in_flight: list[Ticket] = field(default_factory=list)
    _since_ms: float = 0.0  # when what is in front was last known

    def admit(self, works_ms: Sequence[float], now_ms: float, *, streams: bool = True) -> Ticket:
        """Choose for a request that has just come, and count it in.

        Args:
            works_ms: what each of its choices takes by the cost model, the one that keeps most first.
            now_ms: the time.
            streams: whether `first_token` will be called for it.
        """
        self._settle(now_ms)
        if not self._waiting():
            self._since_ms = now_ms
        ahead = self._ahead(now_ms)
        predicted = [self.correction.predict(ahead, work) for work in works_ms]
        choice = self._choose(predicted)
        alone, target = self.correction.predict(0.0, min(works_ms)), self.target_ms
        ticket = Ticket(
            choice=choice,
            work_ms=works_ms[choice],
            ahead_ms=ahead,
            predicted_ms=predicted[choice],
            held=None if target is None else bool(predicted[choice] <= target),
            can_hold=target is not None and alone <= target,
            choices=len(works_ms),
            arrived_ms=now_ms,
            streams=streams,
        )
        self.in_flight.append(ticket)
        return ticket

    def first_token(self, ticket: Ticket, now_ms: float) -> bool | None:
        """Take in that a request's first token came.

        Returns:
            Whether the target was held; None without one.
        """
        measured = now_ms - ticket.arrived_ms
        self._served(ticket, now_ms)
        self.correction.learn(ticket.ahead_ms, ticket.work_ms, measured)
        if self.target_ms is None:
            return None
        held = measured <= self.target_ms
        if ticket.can_hold and ticket.choices > 1 and (ticket.choice or not held):
            self._make_room(held=held)
        return held

    def leave(self, ticket: Ticket, now_ms: float) -> None:
        """Take in that a request ended, was cut off or failed."""
        if ticket.waiting and self._waiting()[0] is ticket:  # what was done was done on it
            self._since_ms = max(self._since_ms, now_ms)
        ticket.waiting = False
        self.in_flight.remove(ticket)

    def _choose(self, predicted: Sequence[float]) -> int:
        """The first that meets the target, else the quickest; the first of all without a target."""
        if self.target_ms is None:
            return 0
        fits = [n for n, ms in enumerate(predicted) if ms <= self.room * self.target_ms]
        return fits[0] if fits else min(range(len(predicted)), key=predicted.__getitem__)

    def _make_room(self, *, held: bool) -> None:
        """Where exactly 1 of 20 misses, what room falls and rises by cancels out."""
        step = max(ROOM_STEP, 1 / (ROOM_FIRST + self.tuned))
        moved = (1 - HELD_SHARE) if held else -HELD_SHARE
        self.room = min(1.0, max(LEAST_ROOM, self.room * (1 + step * moved)))
        self.tuned += 1

    def _waiting(self) -> list[Ticket]:
        return [ticket for ticket in self.in_flight if ticket.waiting]

    def _ahead(self, now_ms: float) -> float:
        """Work before a request that comes now: of all that wait, less what was done since."""
        waiting = sum(ticket.work_ms for ticket in self._waiting())
        done = (now_ms - self._since_ms) / self.correction.own
        return max(0.0, waiting - done)

    def _settle(self, now_ms: float) -> None:
        """Requests whose first token is not seen are served when it was predicted."""
        for ticket in self._waiting():
            due = ticket.arrived_ms + ticket.predicted_ms
            if not ticket.streams and due <= now_ms:
                self._served(ticket, due)

    def _served(self, ticket: Ticket, now_ms: float) -> None:
        ticket.waiting = False
        self._since_ms = max(self._since_ms, now_ms)
