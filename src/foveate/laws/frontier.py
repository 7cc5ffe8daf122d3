"""The inference-optimal LLM size, count of visual tokens and frames at a budget, by a law.

What a budget counts is an `Axis`: `2 N (Q + V)` FLOPs as published, or with the vision encoder.
Attention's square term and decoding are left out of it; `foveate.plan` counts them for a given model.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from foveate.errors import BudgetError, InputError
from foveate.laws.axis import Axis
from foveate.laws.fitting import Array
from foveate.laws.law import DRAWS, Interval, Law
from foveate.laws.points import Number

CELLS = 400  # points of the token axis, evenly spaced on a log scale
STEPS = (0.25, 0.5, 2.0, 4.0)  # neighbouring choices, as multiples of the best token count
TAILS = (2.5, 97.5)
TOKENS = (1.0, 576.0)  # fewest and most visual tokens looked at


@dataclass(frozen=True)
class Mixture:
    """A mix of questions: shares of task families, each with a law.

    Attributes:
        parts: (share, law) pairs; the shares sum to 1.
    """

    parts: tuple[tuple[float, Law], ...]

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.parts]
        if not shares or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise InputError(f"shares of a mixture must be at least 0 and sum to 1, got {shares}")
        if len({law.points.frames is None for _, law in self.parts}) > 1:
            raise InputError("the laws of a mixture must all have frames, or none of them")

    @classmethod
    def of(cls, laws: "Law | Mixture | Mapping[str, Law]", **shares: float) -> "Mixture":
        """A law alone, or shares of named laws: `Mixture.of(laws, reasoning=0.8, ocr=0.2)`."""
        if isinstance(laws, Mixture):
            return laws
        if isinstance(laws, Law):
            return cls(((1.0, laws),))
        if unknown := set(shares) - set(laws):
            raise InputError(f"no law of {sorted(unknown)}; there are {sorted(laws)}")
        return cls(tuple((share, laws[name]) for name, share in shares.items()))

    @property
    def rmse(self) -> float:
        """Root mean squared error of the laws on their own points."""
        return math.sqrt(sum(share * law.rmse**2 for share, law in self.parts))

    def covers(self, params_b: float, visual_tokens: float, frames: float = 1) -> bool:
        """Whether every law has points on both sides."""
        return all(law.covers(params_b, visual_tokens, frames) for _, law in self.parts)

    @property
    def sizes(self) -> tuple[Number, Number]:
        """Sizes to choose from: half the smallest fitted one to twice the largest."""
        fitted = [law.points.params_b for _, law in self.parts]
        return max(min(sizes) for sizes in fitted) / 2, 2 * min(max(sizes) for sizes in fitted)

    @property
    def frames(self) -> list[float]:
        """Frames to choose from: every count that a law was fitted to; 1 where none has frames."""
        return sorted({count for _, law in self.parts for count in law.points.frames or (1.0,)})

    def errors(self, params_b: Array, visual_tokens: Array, frames: Array, draws: int = 0) -> Array:
        """(1 or draws, n) errors, by the laws as fitted or by their bootstrap."""
        total = np.zeros((max(draws, 1), len(params_b)))
        for place, (share, law) in enumerate(self.parts):
            theta = law.bootstrap(draws, seed=place) if draws else law.theta[None]
            total += share * law.errors(theta, params_b, visual_tokens, frames)
        return total


@dataclass(frozen=True)
class Choice:
    """A size, a count of visual tokens, and frames, at the budget.

    Attributes:
        name: of the model, where real models were listed.
        params_b: LLM parameters in billions.
        visual_tokens: per image or frame.
        error: predicted.
        regret: error above the best choice's.
        regret_interval: its 95 % interval, by the laws' bootstrap.
        extrapolated: whether size, count or frames are outside what the laws were fitted to.
        frames: of the clip, 1 for a picture.
    """

    name: str | None
    params_b: float
    visual_tokens: float
    error: float
    regret: float
    regret_interval: Interval
    extrapolated: bool
    frames: float = 1.0


@dataclass(frozen=True)
class Optimum:
    """The best choice at a budget, and how much it matters.

    Attributes:
        best: the choice with the least predicted error.
        params_b: 95 % interval of the best size.
        visual_tokens: 95 % interval of the best count.
        neighbours: other choices at the same budget: other counts, and the best of other frames.
        alike: counts, with the best one's frames, whose predicted error is within the laws' own misfit of
            the best one's.
        flat: whether those counts span a factor of 4 or more.
        frames: 95 % interval of the best frames.
    """

    best: Choice
    params_b: Interval
    visual_tokens: Interval
    neighbours: tuple[Choice, ...]
    alike: Interval
    flat: bool
    frames: Interval


@dataclass(frozen=True)
class _Choices:
    """Everything that spends the budget: a name, billions of parameters, counts and frames each."""

    names: tuple[str | None, ...]
    params_b: Array
    visual_tokens: Array
    frames: Array

    @property
    def places(self) -> tuple[Array, Array, Array]:
        return self.params_b, self.visual_tokens, self.frames

    def where(self, fits: NDArray[np.bool_]) -> "_Choices":
        names = tuple(name for name, fit in zip(self.names, fits, strict=True) if fit)
        return _Choices(names, *(column[fits] for column in self.places))


def optimum(
    laws: Law | Mixture,
    budget_flops: Number,
    text_tokens: Number,
    *,
    models: Mapping[str, Number] | None = None,
    sizes: tuple[Number, Number] | None = None,
    tokens: tuple[Number, Number] = TOKENS,
    frames: Sequence[Number] | None = None,
    encoder_flops: Number = 0.0,
    draws: int = DRAWS,
) -> Optimum:
    """The best size, count and frames at a budget, with intervals and regrets.

    Args:
        laws: a law, or a mixture of task families.
        budget_flops: of one answer's prefill, `F E + 2 N (Q + F V)`.
        text_tokens: Q, 0 where the prompt is cached.
        models: name -> billions of parameters; None lets the size vary continuously.
        sizes: least and largest size in billions, without `models`; default half the smallest and twice
            the largest that the laws were fitted to.
        tokens: least and largest count of visual tokens, of a picture or frame.
        frames: F, counts to choose from; default those that the laws were fitted to, 1 without frames.
        encoder_flops: E, of vision tower and projector, a picture or frame; 0, as published, counts none.
        draws: of the bootstrap.

    Raises:
        BudgetError: nothing fits the budget; the message gives the cheapest choice.
        InputError: no budget, sizes, counts or frames, or frames asked of laws without.
    """
    mixture, axis = Mixture.of(laws), Axis(text_tokens, encoder_flops)
    sizes = sizes or mixture.sizes
    shown = mixture.frames if frames is None else [float(count) for count in frames]
    _check(budget_flops, sizes, tokens, shown)
    if models is None:
        choices = _of_any_size(budget_flops, axis, sizes, tokens, shown)
    else:
        choices = _of_models(budget_flops, axis, models, tokens, shown)
    return _best(mixture, choices, draws, listed=models is not None)


def _best(mixture: Mixture, choices: _Choices, draws: int, *, listed: bool) -> Optimum:
    """The best choice; beside it all others where models were listed, else a few."""
    params, counts, frames = choices.places
    fitted, drawn = mixture.errors(*choices.places)[0], mixture.errors(*choices.places, draws)
    best, of_draw = int(fitted.argmin()), drawn.argmin(1)

    def choice(index: int) -> Choice:
        size, count, shown = (float(column[index]) for column in choices.places)
        return Choice(
            choices.names[index],
            params_b=size,
            visual_tokens=count,
            error=float(fitted[index]),
            regret=float(fitted[index] - fitted[best]),
            regret_interval=_interval(drawn[:, index] - drawn[:, best]),
            extrapolated=not mixture.covers(size, count, shown),
            frames=shown,
        )

    others = set(range(len(params))) if listed else _neighbours(choices, fitted, best)
    within = counts[(frames == frames[best]) & (fitted - fitted[best] <= mixture.rmse)]
    alike = Interval(float(within.min()), float(within.max()))
    return Optimum(
        choice(best),
        params_b=_interval(params[of_draw]),
        visual_tokens=_interval(counts[of_draw]),
        neighbours=tuple(choice(index) for index in sorted(others - {best})),
        alike=alike,
        flat=alike.high >= 4 * alike.low,
        frames=_interval(frames[of_draw]),
    )


def _neighbours(choices: _Choices, fitted: Array, best: int) -> set[int]:
    """Some multiples of the best count with the best frames, and the best of each other frames."""
    counts, frames = choices.visual_tokens, choices.frames

    def least(value: Array, shown: float) -> int:
        return int(np.where(frames == shown, value, np.inf).argmin())

    others = {least(np.abs(np.log(counts / (counts[best] * s))), frames[best]) for s in STEPS}
    return others | {least(fitted, shown) for shown in set(frames)}


def frontier(
    laws: Law | Mixture,
    budgets_flops: Sequence[Number],
    text_tokens: Number,
    **options: object,
) -> list[tuple[float, Optimum]]:
    """The optimum at each budget that anything fits.

    Raises:
        InputError: as in `optimum`; budgets that nothing fits are left out.
    """
    found = []
    for budget in budgets_flops:
        with suppress(BudgetError):
            found.append((budget, optimum(laws, budget, text_tokens, **options)))  # type: ignore[arg-type]
    return found


def _of_any_size(
    budget: Number,
    axis: Axis,
    sizes: tuple[Number, Number],
    tokens: tuple[Number, Number],
    frames: Sequence[Number],
) -> _Choices:
    """The size that a count and frames leave room for."""
    grid = np.meshgrid(np.geomspace(*tokens, CELLS), frames, indexing="ij")
    counts, shown = (column.ravel() for column in grid)
    params = np.minimum(axis.params_b(budget, counts, shown), sizes[1])  # the rest is left unspent
    choices = _Choices((None,) * len(params), params, counts, shown)
    return _afforded(
        choices, params >= sizes[0], budget, axis, (f"{sizes[0]:g}B", sizes[0]), tokens
    )


def _of_models(
    budget: Number,
    axis: Axis,
    models: Mapping[str, Number],
    tokens: tuple[Number, Number],
    frames: Sequence[Number],
) -> _Choices:
    """The count that a model and frames leave room for."""
    if not models or not all(size > 0 for size in models.values()):
        raise InputError(f"models need sizes in billions above 0, got {dict(models)}")
    grid = np.meshgrid(np.array(list(models.values()), dtype=float), frames, indexing="ij")
    params, shown = (column.ravel() for column in grid)
    counts = np.minimum(np.floor(axis.visual_tokens(budget, params, shown) + 1e-9), tokens[1])
    names = tuple(name for name in models for _ in frames)
    smallest = min(models.items(), key=itemgetter(1))
    choices = _Choices(names, params, counts, shown)
    return _afforded(choices, counts >= tokens[0], budget, axis, smallest, tokens)


def _afforded(
    choices: _Choices,
    fits: NDArray[np.bool_],
    budget: Number,
    axis: Axis,
    smallest: tuple[str, Number],
    tokens: tuple[Number, Number],
) -> _Choices:
    if not fits.any():
        (name, size), fewest = smallest, float(choices.frames.min())
        many = f" in {fewest:g} frames" if fewest != 1 else ""
        raise BudgetError(
            f"{budget:.3g} FLOPs fit nothing; the cheapest choice is {name} at {tokens[0]:g} tokens"
            f"{many}: {axis.flops(size, tokens[0], fewest):.3g} FLOPs"
        )
    return choices.where(fits)


def _interval(values: Array) -> Interval:
    return Interval(*(float(end) for end in np.percentile(values, TAILS)))


def _check(
    budget: Number,
    sizes: tuple[Number, Number],
    tokens: tuple[Number, Number],
    frames: Sequence[Number],
) -> None:
    if not (math.isfinite(budget) and budget > 0):
        raise InputError(f"a budget is a count of FLOPs above 0, got {budget}")
    for name, (low, high) in (("sizes", sizes), ("tokens", tokens)):
        if not 0 < low < high:
            raise InputError(f"{name} must be a range above 0, got {low} to {high}")
    if not frames or not all(count >= 1 for count in frames):
        raise InputError(f"frames must be counts of at least 1 to choose from, got {frames}")
