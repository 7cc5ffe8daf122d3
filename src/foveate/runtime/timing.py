"""How long a device takes, noted without waiting for it.

On a GPU the host is ahead of the work that it queues. A `Moment` is then an event in the queue, and the
seconds between two are known once the device has got there; whoever reads them waits, nobody else.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from foveate.report import STAGES


def _in_queue(device: torch.device) -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


# kinds of devices that work behind the host's back, and what marks a place in their queue
EVENTS: dict[str, Callable[[torch.device], Any]] = {"cuda": _in_queue}


class Moment:
    """Now, in the work that is queued on a device."""

    def __init__(self, device: torch.device | None) -> None:
        self.device, self.event = device, None
        if device is not None and device.type in EVENTS:
            self.event = EVENTS[device.type](device)
        self.at = time.perf_counter()

    @property
    def is_past(self) -> bool:
        """Whether the device has got there."""
        return self.event is None or self.event.query()

    def wait(self) -> None:
        """Wait until it has."""
        if self.event is not None:
            self.event.synchronize()


class Span(NamedTuple):
    """What was done between two moments."""

    began: Moment
    ended: Moment

    @property
    def seconds(self) -> float:
        """How long it took; from one GPU to another by the host's clock, which may be ahead of both."""
        began, ended = self
        if began.event is None or ended.event is None or began.device != ended.device:
            return ended.at - began.at
        ended.wait()
        return began.event.elapsed_time(ended.event) / 1000


class Timings:
    """Seconds of the stages of one prompt; called, it says what they are so far."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = dict.fromkeys(map(str, STAGES), 0.0)
        self._open: deque[tuple[str, Span]] = deque()  # not yet in the sums

    def add(self, stage: str, span: Span) -> None:
        """Another part of a stage."""
        while self._open and self._open[0][1].ended.is_past:
            done, earlier = self._open.popleft()
            self._sums[done] += earlier.seconds
        self._open.append((stage, span))

    def __call__(self) -> dict[str, float]:
        """The seconds of each stage; waits for the device."""
        seconds = dict(self._sums)
        for stage, span in self._open:
            seconds[stage] += span.seconds
        return seconds


def clock(device: torch.device | None) -> float:
    """Seconds now, after all work queued on a device; who times from outside waits for it."""
    moment = Moment(device)
    moment.wait()
    return moment.at if moment.event is None else time.perf_counter()
