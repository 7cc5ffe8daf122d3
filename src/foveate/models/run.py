"""What one `with foveate.reduce(...)` has to tell."""

import threading
from typing import Any
from weakref import WeakKeyDictionary

from foveate.errors import NoEffectError
from foveate.reduction import Report


class Run:
    """What happens inside one `with foveate.reduce(...)`.

    Attributes:
        reports: one `Report` for every prefill that had visual tokens.
    """

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._opener = threading.get_ident()
        self._last: Report | str = "no prompt with visual tokens has run inside this reduce() yet"
        self._last_of_thread: dict[int, Report | str] = {}
        self._by_cache: WeakKeyDictionary[Any, Report] = WeakKeyDictionary()

    @property
    def report(self) -> Report:
        """Report of the last prefill; in another thread than reduce() was opened in, of that thread's.

        Raises:
            NoEffectError: nothing has run yet, or the last run was no prompt with visual tokens.
        """
        thread = threading.get_ident()
        last = (
            self._last if thread == self._opener else self._last_of_thread.get(thread, self._last)
        )
        if isinstance(last, str):
            raise NoEffectError(last)
        return last

    def add(self, report: Report, cache: Any) -> None:
        """Another prefill with visual tokens has run, into this cache or none."""
        self.reports.append(report)
        self._note(report)
        if cache is not None:
            self._by_cache[cache] = report

    def lapse(self, why: str) -> None:
        """The last run has no report."""
        self._note(f"{why}, so there is no report of it; `reports` has those of earlier prompts")

    def of_cache(self, cache: Any) -> Report | None:
        """Report of the prefill that filled a cache."""
        return self._by_cache.get(cache)

    def _note(self, last: Report | str) -> None:
        self._last = self._last_of_thread[threading.get_ident()] = last
