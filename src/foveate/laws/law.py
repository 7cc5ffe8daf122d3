"""Scaling laws of a VLM's error over LLM size and visual tokens, with their uncertainty.

The published law (arXiv 2411.03312) is a product, `error = scale / (N^alpha T^beta) + floor`: N in
billions of LLM parameters, T visual tokens that reach the LLM. The additive form, `scale / N^alpha +
token_scale / T^beta + floor`, has one parameter more and often fits as well; ask both. `scale` in the
product is the paper's A times B: the two cannot be told apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foveate.errors import InputError
from foveate.laws import fitting
from foveate.laws.fitting import FORMS, Array, Form
from foveate.laws.points import Number, Points

NAMES: dict[str, tuple[str, ...]] = {
    "product": ("scale", "alpha", "beta", "floor"),
    "additive": ("scale", "alpha", "token_scale", "beta", "floor"),
}
CHI2_95 = 3.841  # one degree of freedom
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """The range of the middle `level` of bootstrap draws."""

    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        form: "product" or "additive".
        alpha: exponent of the size.
        beta: exponent of the tokens.
        scale: of the power term; of the size's own in the additive form.
        token_scale: of the tokens' own term, None in the product.
        floor: error that neither size nor tokens remove, at least 0.
        sse: sum of squared errors.
        points: what it was fitted to.
        text_tokens: added to the visual tokens to give T; 0 means that T is the visual tokens alone.
    """

    form: Form
    alpha: float
    beta: float
    scale: float
    token_scale: float | None
    floor: float
    sse: float
    points: Points
    text_tokens: float = 0.0

    def predict(self, params_b: Number, visual_tokens: Number) -> float:
        """Error at a size (billions) and a count of visual tokens."""
        tokens = visual_tokens + self.text_tokens
        if not (params_b > 0 and tokens > 0):
            raise InputError(f"a law needs sizes and tokens above 0, got {params_b} and {tokens}")
        log_n, log_t = (np.log([value]) for value in (params_b, tokens))
        return float(fitting.predict(self.form, self.theta[None], log_n, log_t)[0, 0])

    @property
    def theta(self) -> Array:
        """The parameters as `fitting` takes them: scales as logarithms."""
        values = [getattr(self, name) for name in NAMES[self.form]]
        logs = [name.endswith("scale") for name in NAMES[self.form]]
        return np.array([math.log(v) if log else v for v, log in zip(values, logs, strict=True)])

    @property
    def tokens(self) -> str:
        """What T counts, in words."""
        return f"visual + {self.text_tokens:g} text" if self.text_tokens else "visual"

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.sse / len(self.points.error))

    @property
    def aicc(self) -> float | None:
        """Small-sample Akaike criterion, the noise's variance counted; None with too few points."""
        count, fitted = len(self.points.error), len(NAMES[self.form]) + 1
        if count - fitted - 1 <= 0 or not self.sse > 0:
            return None
        penalty = 2 * fitted + 2 * fitted * (fitted + 1) / (count - fitted - 1)
        return count * math.log(self.sse / count) + penalty

    def bootstrap(self, draws: int = DRAWS, seed: int = 0) -> Array:
        """(draws, k) parameters of laws fitted to points drawn with replacement.

        A draw with one size or count only, or with fewer different points than parameters, does not
        determine a law and is drawn again.
        """
        return _bootstrap(self, draws, seed)

    def interval(
        self, level: float = 0.95, draws: int = DRAWS, seed: int = 0
    ) -> dict[str, Interval]:
        """Percentile bootstrap interval of each parameter and of `alpha / beta`."""
        if not 0 < level < 1:
            raise InputError(f"level must be in (0, 1), got {level}")
        theta = self.bootstrap(draws, seed)
        columns = {
            name: np.exp(column) if name.endswith("scale") else column
            for name, column in zip(NAMES[self.form], theta.T, strict=True)
        }
        columns["alpha / beta"] = columns["alpha"] / columns["beta"]
        tails = [50 * (1 - level), 50 * (1 + level)]
        return {
            name: Interval(*(float(end) for end in np.percentile(column, tails)))
            for name, column in columns.items()
        }

    def profile(self) -> dict[str, Interval]:
        """Floors that fit as well (95 %, by likelihood ratio), and the exponents that go with them."""
        return _profile(self)

    def unidentified(self) -> list[str]:
        """What these points cannot tell, in words."""
        notes = []
        if self.form == "product":
            notes.append("scale is the paper's A times B; the points cannot tell A from B")
        if self.floor == 0:
            notes.append("floor ends at its bound 0: no error was seen to stay")
        ranges = self.profile()
        floor = ranges["floor"]
        if floor.high - floor.low > 0.02:
            notes.append(
                f"floor: anything from {floor.low:.2f} to {floor.high:.2f} fits as well; with it alpha "
                f"goes from {ranges['alpha'].low:.3f} to {ranges['alpha'].high:.3f} and beta from "
                f"{ranges['beta'].low:.3f} to {ranges['beta'].high:.3f}"
            )
        for name, found in self.interval().items():
            if name in ("alpha", "beta") and found.low <= 0 <= found.high:
                notes.append(f"{name}: its interval holds 0, an effect may be absent")
        return notes


def fit_law(
    params_b: Iterable[Number],
    visual_tokens: Iterable[Number],
    error: Iterable[Number],
    form: str = "product",
    text_tokens: Number = 0.0,
) -> Law:
    """Fit a law by least squares, deterministically.

    Args:
        params_b: LLM parameters in billions, a value a point.
        visual_tokens: that reach the LLM, a value a point.
        error: 1 - score, in [0, 1], a value a point.
        form: "product" or "additive".
        text_tokens: added to the visual tokens for T; the published fit adds none.

    Raises:
        InputError: unequal lengths, numbers out of range, one size or count only, too few points.
    """
    points = Points.of(params_b, visual_tokens, error)
    return fit_points(points, form, text_tokens)


def fit_points(points: Points, form: str = "product", text_tokens: Number = 0.0) -> Law:
    """`fit_law` for points that were read or shipped."""
    if form not in FORMS:
        raise InputError(f"form must be one of {FORMS}, got {form!r}")
    if not (math.isfinite(text_tokens) and text_tokens >= 0):
        raise InputError(f"text_tokens must be at least 0, got {text_tokens}")
    if points.distinct < len(NAMES[form]):
        raise InputError(
            f"the {form} law has {len(NAMES[form])} parameters, but there are only {points.distinct} "
            "different (size, tokens) points"
        )
    text_tokens = float(text_tokens)
    log_n, log_t, error = _logs(points, text_tokens)
    theta = fitting.start(form, log_n, log_t, error)
    theta, sse = fitting.fit(form, theta, log_n, log_t, error, np.ones((1, len(error))))
    return _law(form, theta[0], float(sse[0]), points, text_tokens)


def largest_held_out(
    points: Points, form: str = "product", text_tokens: Number = 0.0
) -> list[dict[str, float | None]]:
    """Predict the largest size from the smaller ones; nothing where those are too few for a law."""
    kept = [size < max(points.params_b) for size in points.params_b]
    try:
        return hold_out(points, kept, form, text_tokens)
    except InputError:
        return []


def hold_out(
    points: Points, kept: Sequence[bool], form: str = "product", text_tokens: Number = 0.0
) -> list[dict[str, float | None]]:
    """Fit to the kept points and predict the others: a row for each, with its relative error.

    Where the measured error is 0, the relative error is None.
    """
    law = fit_points(points.where(kept), form, text_tokens)
    rows = []
    for size, tokens, error, inside in zip(
        points.params_b, points.tokens, points.error, kept, strict=True
    ):
        if not inside:
            guess = law.predict(size, tokens)
            relative = (guess - error) / error if error else None
            row = {"params_b": size, "visual_tokens": tokens, "error": error, "predicted": guess}
            rows.append({**row, "relative": relative})
    return rows


def _law(form: Form, theta: Array, sse: float, points: Points, text_tokens: float) -> Law:
    values = {
        name: math.exp(value) if name.endswith("scale") else float(value)
        for name, value in zip(NAMES[form], theta, strict=True)
    }
    values.setdefault("token_scale", None)  # pyright: ignore[reportArgumentType]
    return Law(form=form, sse=sse, points=points, text_tokens=text_tokens, **values)


def _logs(points: Points, text_tokens: float) -> tuple[Array, Array, Array]:
    tokens = np.array(points.tokens) + text_tokens
    return np.log(points.params_b), np.log(tokens), np.array(points.error)


@lru_cache(maxsize=64)
def _bootstrap(law: Law, draws: int, seed: int) -> Array:
    log_n, log_t, error = _logs(law.points, law.text_tokens)
    count, parameters = len(error), len(NAMES[law.form])
    random = np.random.default_rng(seed)
    chosen: list[Array] = []
    for _ in range(100 * draws):
        drawn = random.integers(0, count, count)
        pairs = set(zip(log_n[drawn], log_t[drawn], strict=True))
        sizes, counts = ({pair[axis] for pair in pairs} for axis in (0, 1))
        if len(pairs) >= parameters and min(len(sizes), len(counts)) >= 2:
            chosen.append(np.bincount(drawn, minlength=count).astype(float))
        if len(chosen) == draws:
            break
    else:
        raise InputError(f"too few points ({count}) for a bootstrap of the {law.form} law")
    weights = np.stack(chosen)
    theta = np.repeat(law.theta[None], draws, axis=0)
    theta, _ = fitting.fit(law.form, theta, log_n, log_t, error, weights)
    theta.flags.writeable = False
    return theta


@lru_cache(maxsize=64)
def _profile(law: Law) -> dict[str, Interval]:
    log_n, log_t, error = _logs(law.points, law.text_tokens)
    floors = np.append(np.linspace(0, 0.995 * error.min(), 120), law.floor)
    theta = np.repeat(law.theta[None], len(floors), axis=0)
    theta[:, -1] = floors
    ones = np.ones((len(floors), len(error)))
    theta, sse = fitting.descend(law.form, theta, log_n, log_t, error, ones, floor_free=False)
    best = max(min(law.sse, float(sse.min())), 1e-300)
    fits = len(error) * np.log(np.maximum(sse, best) / best) <= CHI2_95
    inside = theta[fits]
    return {
        name: Interval(float(inside[:, column].min()), float(inside[:, column].max()))
        for column, name in enumerate(NAMES[law.form])
        if not name.endswith("scale")
    }
