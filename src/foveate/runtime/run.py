"""`Run`: the reports of one `with foveate.reduce(...)`."""

import asyncio
import itertools
import logging
import threading
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from foveate.errors import NoEffectError
from foveate.report import Report
from foveate.runtime.mask_check import MaskCheck
from foveate.runtime.timing import Timings

LOG = logging.getLogger(__name__)
Outcome = Report | str  # a prompt's report, or why it has none


class _Last(NamedTuple):
    """The last run of a context."""

    of: Any  # its `Run`, weakly
    number: int
    outcome: Outcome


_here: ContextVar[_Last | None] = ContextVar("foveate_last_run", default=None)


class Run:
    """What happens inside one `with foveate.reduce(...)`.

    Attributes:
        reports: one `Report` for every prefill that had visual tokens.
    """

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._numbers = itertools.count(1)
        self._last: Outcome = "no prompt with visual tokens has run inside this reduce() yet"
        self._refused = 0  # number of the last refused prompt
        self._contexts = 0  # how many contexts ran a prompt
        self._opener = _reader()
        self._late: list[Report] = []  # which may still have to ask the device
        self._checks: dict[int, MaskCheck] = {}  # by thread, of its last step
        self._by_cache: WeakKeyDictionary[Any, Timings] = WeakKeyDictionary()

    @property
    def report(self) -> Report:
        """Report of the last prefill of the thread or asyncio task that reads it.

        A reader that ran nothing itself gets the last report of all, if it opened the reduce() or if only
        one thread or task ran anything.

        Raises:
            NoEffectError: the last prompt has no report (nothing has run, it had no picture, it failed or
                was refused), or several threads or tasks ran, and the reader is none of them.
        """
        last, here = self._last, self._of_context()
        if here is not None and here.number > self._refused:
            last = here.outcome
        elif self._contexts > 1 and self._opener != _reader():
            last = (
                "several threads or tasks ran inside this reduce(), and the one that reads `report` ran "
                "nothing; `reports` has all of them"
            )
        if isinstance(last, str):
            raise NoEffectError(last)
        return last

    def add(self, report: Report, timings: Timings, cache: Any) -> None:
        """Add the report of a prefill with visual tokens, which filled this cache, if any."""
        self.reports.append(report)
        self._late.append(report)
        if LOG.isEnabledFor(logging.INFO):  # to tell all of it waits for the device
            self._tell(report)
        self._note(report)
        if cache is not None:
            self._by_cache[cache] = timings

    def _tell(self, report: Report) -> None:
        LOG.info(
            "prefill: %s visual tokens, %s to the LLM, %s in its last layer; %.4g of %.4g FLOPs, "
            "%d of %d bytes of KV cache; seconds: %s",
            report.visual_tokens_in,
            report.visual_tokens_to_llm,
            [layers[-1] for layers in report.visual_tokens_by_layer],
            report.prefill_flops,
            report.prefill_flops_unreduced,
            report.kv_bytes,
            report.kv_bytes_unreduced,
            ", ".join(f"{part} {spent:.3f}" for part, spent in report.seconds.items()),
        )

    def await_answer(self, check: MaskCheck | None) -> None:
        """Remember the check of a step's attention mask until its answer is there."""
        if check is None:
            self._checks.pop(threading.get_ident(), None)
        else:
            self._checks[threading.get_ident()] = check

    def settle(self) -> None:
        """Wait for what reports and checks still have to be told by the device: it is idle by now.

        Raises:
            UnsupportedError: the attention mask of a last step was wrong.
        """
        while self._late:
            _ = self._late.pop().samples
        while self._checks:
            self._checks.popitem()[1].refuse_changed()

    def lapse(self, why: str) -> None:
        """Note that the last prompt has no report."""
        self._note(f"{why}, so there is no report of it; `reports` has those of earlier prompts")

    def refuse(self, why: str) -> None:
        """Note that a prompt from outside was refused, so that no earlier report is taken for its own."""
        self._last = f"{why}, so there is no report of it; `reports` has those of earlier prompts"
        self._refused = next(self._numbers)

    def timings_of(self, cache: Any) -> Timings | None:
        """Timings of the prompt whose prefill filled a cache."""
        return self._by_cache.get(cache)

    def _of_context(self) -> _Last | None:
        last = _here.get()
        return last if last is not None and last.of() is self else None

    def _note(self, outcome: Outcome) -> None:
        self._contexts += self._of_context() is None
        self._last = outcome
        _here.set(_Last(ref(self), next(self._numbers), outcome))


def _reader() -> tuple[int, Any]:
    """The current thread and asyncio task."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here
        task = None
    return threading.get_ident(), None if task is None else ref(task)
