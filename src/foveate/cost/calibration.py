"""Calibration: a prefill's milliseconds on this machine, from what it computes, moves and starts.

Time is a sum over four counts, each times a fitted rate: FLOPs of matrices, FLOPs of attention, numbers
moved, and operations started. The fit minimizes relative errors; no rate is negative.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from foveate.errors import InputError

Operations = Iterable[tuple[Any, int]]
MINIMUM = 5  # fewest timings, one more than there are rates


@dataclass(frozen=True)
class Calibration:
    """Rates of a machine, and how well they predict times that they were not fitted to.

    Attributes:
        name: of the machine.
        ms_per_flop: of matrices.
        ms_per_attention_flop: of attention.
        ms_per_number: for each number read or written.
        ms_per_operation: for starting an operation.
        median_error: relative, on held-out shapes; None if there were none.
        conditions: what it was measured on.
    """

    name: str
    ms_per_flop: float
    ms_per_attention_flop: float
    ms_per_number: float
    ms_per_operation: float
    median_error: float | None
    conditions: dict[str, Any]

    def ms(self, operations: Operations) -> float:
        """Milliseconds of operations, each with how often it runs."""
        rates = (
            self.ms_per_flop,
            self.ms_per_attention_flop,
            self.ms_per_number,
            self.ms_per_operation,
        )
        return float(np.dot(counts(operations), rates))

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read what `write` wrote.

        Raises:
            InputError: no such file, or something else in it.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError, TypeError) as error:
            raise InputError(f"{path} is no calibration (see foveate calibrate): {error}") from None


def counts(operations: Operations) -> np.ndarray:
    """(4,): FLOPs of matrices, FLOPs of attention, numbers moved, operations."""
    total = np.zeros(4)
    for work, times in operations:
        total += times * np.array(
            [
                0 if work.attention else work.timed,
                work.timed if work.attention else 0,
                work.moved,
                1.0,
            ]
        )
    return total


def fit_calibration(
    timings: Sequence[tuple[Any, float]],
    held_out: Sequence[tuple[Any, float]] = (),
    *,
    name: str = "calibrated",
    conditions: dict[str, Any] | None = None,
) -> Calibration:
    """Rates from timed prefills.

    Args:
        timings: what each run costs (a `Cost`) and its milliseconds.
        held_out: the same for runs that only test the rates.
        name: of the machine.
        conditions: what it was measured on, kept with the rates.

    Raises:
        InputError: too few timings, or one that is not above 0.
    """
    if len(timings) < MINIMUM:
        raise InputError(f"a calibration needs at least {MINIMUM} timings, got {len(timings)}")
    if bad := [ms for _, ms in (*timings, *held_out) if not 0 < ms < float("inf")]:
        raise InputError(f"a timing must be above 0 ms, got {bad[0]}")
    measured = np.array([ms for _, ms in timings])
    design = np.stack([counts(cost.operations) for cost, _ in timings]) / measured[:, None]
    scale = design.max(0).clip(min=1e-300)  # columns differ by 10 orders of magnitude
    rates, _ = nnls(design / scale, np.ones(len(timings)))
    dense, attention, moved, started = (float(rate) for rate in rates / scale)
    known = Calibration(name, dense, attention, moved, started, None, conditions or {})
    if not held_out:
        return known
    errors = [abs(known.ms(cost.operations) / ms - 1) for cost, ms in held_out]
    return replace(known, median_error=float(np.median(errors)))
