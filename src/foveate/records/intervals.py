"""Paired comparison of two methods on the same samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveate.errors import InputError

Scores = Sequence[float | int]


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


def paired_difference(base: Scores, other: Scores, draws: int = 2000, seed: int = 0) -> Difference:
    """Bootstrap over samples of the mean of `other - base`.

    Raises:
        InputError: no samples, or not equally many.
    """
    return mean_difference([(base, other)], draws, seed)


def mean_difference(
    tasks: Sequence[tuple[Scores, Scores]], draws: int = 2000, seed: int = 0
) -> Difference:
    """The same for the mean over tasks: samples are drawn within each task, and tasks count equally.

    Args:
        tasks: (base, other) of each task.
        draws: how often.
        seed: of the draws.

    Raises:
        InputError: no task, no samples, or not equally many.
    """
    if not tasks:
        raise InputError("a mean over tasks needs at least 1 task, got none")
    rng = np.random.default_rng(seed)
    means, drawn = [], np.zeros(draws)
    for base, other in tasks:
        if len(base) != len(other) or not len(base):
            raise InputError(
                "paired samples must be equally many and at least 1, "
                f"got {len(base)} and {len(other)}"
            )
        deltas = np.asarray(other, dtype=float) - np.asarray(base, dtype=float)
        means.append(float(deltas.mean()))
        drawn += deltas[rng.integers(0, len(deltas), (draws, len(deltas)))].mean(1) / len(tasks)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(float(np.mean(means)), float(low), float(high))


def mean_over_runs(runs: Sequence[Scores], draws: int = 2000, seed: int = 0) -> Difference:
    """Mean of scores, or of differences, of several runs on the same samples.

    The bootstrap draws runs and samples anew, each run with all of the drawn samples, so that the
    interval covers chance in training and in the choice of questions.

    Args:
        runs: of each run the scores of all samples, in the same order.
        draws: how often.
        seed: of the draws.

    Raises:
        InputError: no run, no samples, or not equally many.
    """
    lengths = sorted({len(run) for run in runs})
    if len(lengths) != 1 or not lengths[0]:
        raise InputError(f"runs must have equally many samples and at least 1, got {lengths}")
    table, rng = np.asarray(runs, dtype=float), np.random.default_rng(seed)
    count, samples = table.shape
    by_run = rng.multinomial(count, [1 / count] * count, draws) / count
    by_sample = rng.multinomial(samples, [1 / samples] * samples, draws) / samples
    low, high = np.percentile(((by_run @ table) * by_sample).sum(1), [2.5, 97.5])
    return Difference(float(table.mean()), float(low), float(high))
