"""Metrics, in the registry of prometheus_client that the engine's own are in; none without it."""

import logging
from functools import cache
from typing import Any

from foveate.serving.budget.controller import Controller

LOG = logging.getLogger(__name__)
BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)  # seconds


class NoMetrics:
    """Tells nobody."""

    def admitted(self, keep: str, by: str, before: int, after: int) -> None:
        """A request came in: the share of its visual tokens, who chose it, and how many that are.

        Args:
            keep: share of its visual tokens; "own" where a client chose it, "default" where nobody did.
            by: who chose: target, client or server.
            before: visual tokens unreduced.
            after: visual tokens at the LLM's input.
        """

    def foretold(self, *, held: bool) -> None:
        """Whether a request was predicted to meet the target."""

    def measured(self, seconds: float, held: bool | None) -> None:  # noqa: FBT001
        """The first token of a streamed answer came.

        Args:
            seconds: from the request to it.
            held: whether that is within the target, None without one.
        """

    def answered(self, seconds: float) -> None:
        """An answer came that was not streamed, so many seconds after its request."""

    def state(self, controller: Controller) -> None:
        """The controller, as it is now."""


class Prometheus(NoMetrics):
    """Counters, gauges and a histogram, named `foveate_...`.

    Args:
        client: the module prometheus_client.
    """

    def __init__(self, client: Any) -> None:
        counter, gauge = client.Counter, client.Gauge
        self._requests = counter(
            "foveate_requests_total", "Chat requests with pictures.", ["keep", "by"]
        )
        self._tokens = counter(
            "foveate_visual_tokens_total", "Visual tokens by the cost model.", ["when"]
        )
        self._foretold = counter(
            "foveate_target_foretold_total", "Whether the target was predicted to hold.", ["held"]
        )
        self._held = counter(
            "foveate_target_measured_total",
            "Whether the target was held, where streamed.",
            ["held"],
        )
        self._first, self._whole = (
            client.Histogram(f"foveate_{name}_seconds", text, buckets=BUCKETS)
            for name, text in (
                ("first_token", "To the first token, where streamed."),
                ("answer", "To the whole answer, where not streamed."),
            )
        )
        self._in_flight = gauge(
            "foveate_requests_in_flight", "That have not ended.", multiprocess_mode="livesum"
        )
        worst = {"multiprocess_mode": "livemax"}  # of several API processes
        self._correction = gauge(
            "foveate_correction", "Factors on predicted times; fixed in ms.", ["part"], **worst
        )
        self._room = gauge("foveate_target_room", "Share of the target that is filled.", **worst)

    def admitted(self, keep: str, by: str, before: int, after: int) -> None:
        """As `NoMetrics.admitted`."""
        self._requests.labels(keep, by).inc()
        self._tokens.labels("before").inc(before)
        self._tokens.labels("after").inc(after)

    def foretold(self, *, held: bool) -> None:
        """As `NoMetrics.foretold`."""
        self._foretold.labels(_word(held)).inc()

    def measured(self, seconds: float, held: bool | None) -> None:  # noqa: FBT001
        """As `NoMetrics.measured`."""
        self._first.observe(seconds)
        if held is not None:
            self._held.labels(_word(held)).inc()

    def answered(self, seconds: float) -> None:
        """As `NoMetrics.answered`."""
        self._whole.observe(seconds)

    def state(self, controller: Controller) -> None:
        """As `NoMetrics.state`."""
        known = controller.correction
        self._in_flight.set(len(controller.in_flight))
        self._room.set(controller.room)
        for part in ("ahead", "own", "fixed_ms"):
            self._correction.labels(part).set(getattr(known, part))


@cache
def metrics() -> NoMetrics:
    """Of this process: a registry takes a name only once."""
    try:
        import prometheus_client  # pyright: ignore[reportMissingImports]
    except ImportError:
        LOG.warning("no metrics: prometheus_client is not installed (vLLM brings it)")
        return NoMetrics()
    return Prometheus(prometheus_client)


def _word(held: object) -> str:
    return "yes" if held else "no"
