"""Paired comparison of two methods on the same samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveate.errors import InputError


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with a percentile bootstrap interval.

    Attributes:
        mean: of `other - base`.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


def paired_difference(
    base: Sequence[float | int], other: Sequence[float | int], draws: int = 2000, seed: int = 0
) -> Difference:
    """Bootstrap over samples of the mean of `other - base`.

    Raises:
        InputError: no samples, or not equally many.
    """
    if len(base) != len(other) or not len(base):
        raise InputError(
            f"paired samples must be equally many and at least 1, got {len(base)} and {len(other)}"
        )
    deltas = np.asarray(other, dtype=float) - np.asarray(base, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(deltas), (draws, len(deltas)))
    low, high = np.percentile(deltas[drawn].mean(1), [2.5, 97.5])
    return Difference(float(deltas.mean()), float(low), float(high))
