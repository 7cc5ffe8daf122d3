"""Times are noted without waiting: on a GPU they are known when it has got there."""

from unittest import mock

import pytest
import torch

from foveate.report import STAGES
from foveate.runtime import timing
from foveate.runtime.timing import Moment, Span, Timings, clock

GPU = torch.device("meta")


class Queue:
    """A GPU's queue: its own clock, and how far it has come."""

    def __init__(self):
        self.now, self.done, self.waits = 0.0, 0.0, 0


class Event:
    def __init__(self, queue):
        self.queue, self.at = queue, queue.now

    def query(self):
        return self.queue.done >= self.at

    def synchronize(self):
        self.queue.waits += not self.query()
        self.queue.done = max(self.queue.done, self.at)

    def elapsed_time(self, later):
        assert self.query()
        assert later.query()
        return 1000 * (later.at - self.at)


@pytest.fixture
def queue():
    queue = Queue()
    with mock.patch.dict(timing.EVENTS, {"meta": lambda device: Event(queue)}):
        yield queue


def spent(queue, seconds, device=GPU):
    began = Moment(device)
    queue.now += seconds
    return Span(began, Moment(device))


def test_nobody_waits_until_the_seconds_are_read(queue):
    timings = Timings()
    for stage, seconds in (("encode", 2.0), ("score", 1.0), ("decode", 0.5), ("decode", 0.25)):
        timings.add(stage, spent(queue, seconds))
    assert queue.waits == 0
    assert timings() == {**dict.fromkeys(STAGES, 0.0), "encode": 2.0, "score": 1.0, "decode": 0.75}
    assert queue.waits > 0
    timings.add("decode", spent(queue, 1.0))
    assert timings()["decode"] == 1.75


def test_what_is_done_is_not_kept(queue):
    timings = Timings()
    for _ in range(100):
        timings.add("decode", spent(queue, 1.0))
        queue.done = queue.now  # as a token that is read has it
    assert queue.waits == 0
    assert len(timings._open) <= 2
    assert timings()["decode"] == 100.0


def test_between_devices_the_hosts_clock_tells(queue):
    here = Moment(torch.device("cpu"))
    queue.now += 100.0
    assert 0 <= Span(here, Moment(GPU)).seconds < 50


def test_a_clock_from_outside_waits(queue):
    before = clock(torch.device("cpu"))
    queue.now += 1.0
    assert clock(GPU) >= before
    assert queue.waits == 1
