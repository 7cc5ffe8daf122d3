"""The inference-optimal LLM size and count of visual tokens at a budget, by a law.

Inference costs `2 N (Q + V)` FLOPs, the paper's axis (arXiv 2411.03312): N parameters, V visual tokens, Q
text tokens that are not cached (Q = 0 is a cached prompt). Vision encoder, attention's square term and
decoding are left out of it; `foveate.plan` counts them for a given model.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from foveate.errors import BudgetError, InputError
from foveate.laws import fitting
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

    def covers(self, params_b: float, visual_tokens: float) -> bool:
        """Whether every law has points on both sides."""
        return all(
            min(values) * 0.999 <= value <= max(values) * 1.001
            for _, law in self.parts
            for values, value in (
                (law.points.params_b, params_b),
                (law.points.tokens, visual_tokens),
            )
        )

    @property
    def sizes(self) -> tuple[Number, Number]:
        """Sizes to choose from: half the smallest fitted one to twice the largest."""
        fitted = [law.points.params_b for _, law in self.parts]
        return max(min(sizes) for sizes in fitted) / 2, 2 * min(max(sizes) for sizes in fitted)

    def errors(self, params_b: Array, visual_tokens: Array, draws: int = 0) -> Array:
        """(1 or draws, n) errors, by the laws as fitted or by their bootstrap."""
        total = np.zeros((max(draws, 1), len(params_b)))
        for place, (share, law) in enumerate(self.parts):
            theta = law.bootstrap(draws, seed=place) if draws else law.theta[None]
            log_t = np.log(visual_tokens + law.text_tokens)
            total += share * fitting.predict(law.form, theta, np.log(params_b), log_t)
        return total


@dataclass(frozen=True)
class Choice:
    """A size and a count at the budget.

    Attributes:
        name: of the model, where real models were listed.
        params_b: LLM parameters in billions.
        visual_tokens: per image.
        error: predicted.
        regret: error above the best choice's.
        regret_interval: its 95 % interval, by the laws' bootstrap.
        extrapolated: whether the size or the count is outside what the laws were fitted to.
    """

    name: str | None
    params_b: float
    visual_tokens: float
    error: float
    regret: float
    regret_interval: Interval
    extrapolated: bool


@dataclass(frozen=True)
class Optimum:
    """The best choice at a budget, and how much it matters.

    Attributes:
        best: the choice with the least predicted error.
        params_b: 95 % interval of the best size.
        visual_tokens: 95 % interval of the best count.
        neighbours: other choices at the same budget.
        alike: counts whose predicted error is within the laws' own misfit of the best one's.
        flat: whether those counts span a factor of 4 or more.
    """

    best: Choice
    params_b: Interval
    visual_tokens: Interval
    neighbours: tuple[Choice, ...]
    alike: Interval
    flat: bool


def optimum(
    laws: Law | Mixture,
    budget_flops: Number,
    text_tokens: Number,
    *,
    models: Mapping[str, Number] | None = None,
    sizes: tuple[Number, Number] | None = None,
    tokens: tuple[Number, Number] = TOKENS,
    draws: int = DRAWS,
) -> Optimum:
    """The best size and count at a budget, with intervals and regrets.

    Args:
        laws: a law, or a mixture of task families.
        budget_flops: of one answer's prefill, `2 N (Q + V)`.
        text_tokens: Q, 0 where the prompt is cached.
        models: name -> billions of parameters; None lets the size vary continuously.
        sizes: least and largest size in billions, without `models`; default half the smallest and twice
            the largest that the laws were fitted to.
        tokens: least and largest count of visual tokens.
        draws: of the bootstrap.

    Raises:
        BudgetError: nothing fits the budget; the message gives the cheapest choice.
        InputError: no budget, sizes or counts.
    """
    mixture = Mixture.of(laws)
    sizes = sizes or mixture.sizes
    _check(budget_flops, text_tokens, sizes, tokens)
    names, params, counts = _choices(budget_flops, text_tokens, models, sizes, tokens)
    fitted = mixture.errors(params, counts)[0]
    drawn = mixture.errors(params, counts, draws)
    best = int(fitted.argmin())
    of_draw = drawn.argmin(1)

    def choice(index: int) -> Choice:
        regrets = drawn[:, index] - drawn[:, best]
        size, count, error = (float(column[index]) for column in (params, counts, fitted))
        known = mixture.covers(size, count)
        regret = error - float(fitted[best])
        return Choice(names[index], size, count, error, regret, _interval(regrets), not known)

    others = set(range(len(names)))
    if not models:
        others = {int(np.abs(np.log(counts / (counts[best] * step))).argmin()) for step in STEPS}
    within = counts[fitted - fitted[best] <= mixture.rmse]
    alike = Interval(float(within.min()), float(within.max()))
    return Optimum(
        best=choice(best),
        params_b=_interval(params[of_draw]),
        visual_tokens=_interval(counts[of_draw]),
        neighbours=tuple(choice(index) for index in sorted(others - {best})),
        alike=alike,
        flat=alike.high >= 4 * alike.low,
    )


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


def _choices(
    budget: Number,
    text: Number,
    models: Mapping[str, Number] | None,
    sizes: tuple[Number, Number],
    tokens: tuple[Number, Number],
) -> tuple[list[str | None], Array, Array]:
    """Everything that spends the budget: names, sizes in billions, counts."""
    if models is None:
        counts = np.geomspace(*tokens, CELLS)
        params = np.minimum(budget / (2e9 * (text + counts)), sizes[1])  # the rest is left unspent
        fits = params >= sizes[0]
        cheapest = (
            f"{sizes[0]:g}B at {tokens[0]:g} tokens: {2e9 * sizes[0] * (text + tokens[0]):.3g}"
        )
        names: list[str | None] = [None] * int(fits.sum())
        params, counts = params[fits], counts[fits]
    else:
        wanted = np.array(list(models.values()), dtype=float)
        if not len(wanted) or not (wanted > 0).all():
            raise InputError(f"models need sizes in billions above 0, got {dict(models)}")
        affordable = np.minimum(np.floor(budget / (2e9 * wanted) - text + 1e-9), tokens[1])
        fits = affordable >= tokens[0]
        small = min(models, key=lambda name: models[name])
        cost = 2e9 * models[small] * (text + tokens[0])
        cheapest = f"{small} at {tokens[0]:g} tokens: {cost:.3g}"
        names = [name for name, fit in zip(models, fits, strict=True) if fit]
        params, counts = wanted[fits], affordable[fits]
    if not len(params):
        raise BudgetError(
            f"{budget:.3g} FLOPs fit nothing; the cheapest choice is {cheapest} FLOPs"
        )
    return names, params, counts


def _interval(values: Array) -> Interval:
    return Interval(*(float(end) for end in np.percentile(values, TAILS)))


def _check(
    budget: Number, text: Number, sizes: tuple[Number, Number], tokens: tuple[Number, Number]
) -> None:
    if not (math.isfinite(budget) and budget > 0):
        raise InputError(f"a budget is a count of FLOPs above 0, got {budget}")
    if not text >= 0:
        raise InputError(f"text_tokens must be at least 0, got {text}")
    for name, (low, high) in (("sizes", sizes), ("tokens", tokens)):
        if not 0 < low < high:
            raise InputError(f"{name} must be a range above 0, got {low} to {high}")
