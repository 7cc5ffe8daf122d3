"""Scaling laws of a VLM's error over LLM size, visual tokens and frames, with their uncertainty.

The published law (arXiv 2411.03312) is a product, `error = scale / (N^alpha T^beta) + floor`: N in
billions of LLM parameters, T visual tokens that reach the LLM. The additive form, `scale / N^alpha +
token_scale / T^beta + floor`, gives each axis a term of its own; the interaction adds one for every two,
`size_token_scale / (N^alpha T^beta)`, which may be below 0. Points with frames F add `F^gamma` alike: T
is then of a frame (arXiv 2505.18855). Ask all forms. `scale` in the product is the paper's A times B: the
two cannot be told apart.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foveate.errors import InputError
from foveate.laws import fitting
from foveate.laws.fitting import FORMS, Array, Form, Terms
from foveate.laws.points import Number, Points

CHI2_95 = 3.841  # one degree of freedom
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """The range of the middle `level` of bootstrap draws."""

    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """A fitted law; parameters that its form or its points lack are None.

    Attributes:
        form: "product", "additive" or "interaction".
        alpha: exponent of the size.
        beta: exponent of the tokens.
        scale: of the product, or of the size's own term.
        token_scale: of the tokens' own term.
        floor: error that nothing removes, at least 0.
        sse: sum of squared errors.
        points: what it was fitted to.
        text_tokens: added to the visual tokens to give T; 0 means that T is the visual tokens alone.
        gamma: exponent of the frames.
        frame_scale: of the frames' own term.
        size_token_scale: of size and tokens together; below 0 where the sum of both is too pessimistic.
        size_frame_scale: of size and frames together.
        token_frame_scale: of tokens and frames together.
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
    gamma: float | None = None
    frame_scale: float | None = None
    size_token_scale: float | None = None
    size_frame_scale: float | None = None
    token_frame_scale: float | None = None

    def predict(self, params_b: Number, visual_tokens: Number, frames: Number = 1) -> float:
        """Error at a size (billions), visual tokens of a picture or frame, and a count of frames.

        Raises:
            InputError: a number that is not above 0, or frames asked of a law without.
        """
        place = np.array([[params_b], [visual_tokens], [frames]], dtype=float)
        return float(self.errors(self.theta[None], *place)[0, 0])

    def errors(self, theta: Array, params_b: Array, visual_tokens: Array, frames: Array) -> Array:
        """(B, n) errors by any parameters (B, k), such as those of the bootstrap, at n places.

        Raises:
            InputError: as in `predict`.
        """
        axes = np.stack([params_b, visual_tokens + self.text_tokens, frames])
        if not (axes > 0).all():
            size, tokens, count = axes[:, int((axes <= 0).any(0).argmax())]
            raise InputError(
                "a law needs sizes and tokens above 0, and frames, got "
                f"{size:g}, {tokens:g} and {count:g}"
            )
        if self.points.frames is None and (frames != 1).any():
            raise InputError(
                "this law was fitted to points without frames and tells nothing of them; "
                f"got {max(frames):g} frames"
            )
        return self.terms.predict(theta, np.log(axes[: self.terms.axes]))

    def covers(self, params_b: Number, visual_tokens: Number, frames: Number = 1) -> bool:
        """Whether each lies between points that the law was fitted to; if not, it extrapolates."""
        place = {"params_b": params_b, "visual_tokens": visual_tokens, "frames": frames}
        return self.points.covers(**{name: place[name] for name in self.points.axes})

    @property
    def terms(self) -> Terms:
        """The form over the axes of the points."""
        return Terms(self.form, len(self.points.axes))

    @property
    def parameters(self) -> dict[str, float]:
        """What was fitted, by name."""
        return {name: getattr(self, name) for name in self.terms.names}

    @property
    def theta(self) -> Array:
        """The parameters as `fitting` takes them: scales above 0 as logarithms."""
        logarithms = self.terms.logarithms
        values = np.array(list(self.parameters.values()))
        return np.where(logarithms, np.log(np.where(logarithms, values, 1)), values)

    @property
    def tokens(self) -> str:
        """What T counts, in words."""
        if self.points.frames is not None:
            return "visual, a frame"
        return f"visual + {self.text_tokens:g} text" if self.text_tokens else "visual"

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return math.sqrt(self.sse / len(self.points.error))

    @property
    def aicc(self) -> float | None:
        """Small-sample Akaike criterion, the noise's variance counted; None with too few points."""
        count, fitted = len(self.points.error), len(self.terms.names) + 1
        if count - fitted - 1 <= 0 or not self.sse > 0:
            return None
        penalty = 2 * fitted + 2 * fitted * (fitted + 1) / (count - fitted - 1)
        return count * math.log(self.sse / count) + penalty

    def bootstrap(self, draws: int = DRAWS, seed: int = 0) -> Array:
        """(draws, k) parameters of laws fitted to points drawn with replacement.

        A draw with one value only on an axis, or with fewer different points than parameters, does not
        determine a law and is drawn again.
        """
        return _bootstrap(self, draws, seed)

    def interval(
        self, level: float = 0.95, draws: int = DRAWS, seed: int = 0
    ) -> dict[str, Interval]:
        """Percentile bootstrap interval of each parameter and of `alpha / beta`."""
        if not 0 < level < 1:
            raise InputError(f"level must be in (0, 1), got {level}")
        values = self.terms.values(self.bootstrap(draws, seed))
        columns = dict(zip(self.terms.names, values.T, strict=True))
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
            goes = [
                f"{name} goes from {ranges[name].low:.3f} to {ranges[name].high:.3f}"
                for name in self.terms.exponents
            ]
            notes.append(
                f"floor: anything from {floor.low:.2f} to {floor.high:.2f} fits as well; with it "
                + " and ".join(goes)
            )
        together = [
            name for name, low in zip(self.terms.scales, self.terms.signed, strict=True) if low
        ]
        for name, found in self.interval().items():
            if name in (*self.terms.exponents, *together) and found.low <= 0 <= found.high:
                notes.append(f"{name}: its interval holds 0, an effect may be absent")
        return notes


def fit_law(
    params_b: Iterable[Number],
    visual_tokens: Iterable[Number],
    error: Iterable[Number],
    form: str = "product",
    text_tokens: Number = 0.0,
    frames: Iterable[Number] | None = None,
) -> Law:
    """Fit a law by least squares, deterministically.

    Args:
        params_b: LLM parameters in billions, a value a point.
        visual_tokens: that reach the LLM, a picture or frame; a value a point.
        error: 1 - score, in [0, 1], a value a point.
        form: "product", "additive" or "interaction".
        text_tokens: added to the visual tokens for T; the published fit adds none.
        frames: of each point's clip; None where every point is of a picture.

    Raises:
        InputError: unequal lengths, numbers out of range, one value only on an axis, too few points.
    """
    points = Points.of(params_b, visual_tokens, error, frames)
    return fit_points(points, form, text_tokens)


def fit_points(points: Points, form: str = "product", text_tokens: Number = 0.0) -> Law:
    """`fit_law` for points that were read or shipped."""
    if form not in FORMS:
        raise InputError(f"form must be one of {FORMS}, got {form!r}")
    if not (math.isfinite(text_tokens) and text_tokens >= 0):
        raise InputError(f"text_tokens must be at least 0, got {text_tokens}")
    if text_tokens and points.frames is not None:
        raise InputError(
            f"with frames, T is the visual tokens of one, so text_tokens must be 0, got {text_tokens}"
        )
    terms = Terms(form, len(points.axes))
    if points.distinct < len(terms.names):
        raise InputError(
            f"the {form} law has {len(terms.names)} parameters, but there are only {points.distinct} "
            f"different ({', '.join(('size', 'tokens', 'frames')[: terms.axes])}) points"
        )
    theta, sse = fitting.best(terms, *_logs(points, float(text_tokens)))
    values = {name: float(v) for name, v in zip(terms.names, terms.values(theta), strict=True)}
    named = {"token_scale": None, **values}
    return Law(form=form, sse=sse, points=points, text_tokens=float(text_tokens), **named)  # type: ignore[arg-type]


def _logs(points: Points, text_tokens: float) -> tuple[Array, Array]:
    axes = np.array(list(points.axes.values()))
    axes[1] += text_tokens
    return np.log(axes), np.array(points.error)


@lru_cache(maxsize=64)
def _bootstrap(law: Law, draws: int, seed: int) -> Array:
    logs, error = _logs(law.points, law.text_tokens)
    count, parameters = len(error), len(law.terms.names)
    random = np.random.default_rng(seed)
    chosen: list[Array] = []
    for _ in range(100 * draws):
        drawn = random.integers(0, count, count)
        cells = set(map(tuple, logs.T[drawn]))
        if len(cells) >= parameters and all(
            len(set(axis)) >= 2 for axis in zip(*cells, strict=True)
        ):
            chosen.append(np.bincount(drawn, minlength=count).astype(float))
        if len(chosen) == draws:
            break
    else:
        raise InputError(f"too few points ({count}) for a bootstrap of the {law.form} law")
    weights = np.stack(chosen)
    theta = np.repeat(law.theta[None], draws, axis=0)
    theta, _ = fitting.fit(law.terms, theta, logs, error, weights)
    theta.flags.writeable = False
    return theta


@lru_cache(maxsize=64)
def _profile(law: Law) -> dict[str, Interval]:
    logs, error = _logs(law.points, law.text_tokens)
    floors = np.append(np.linspace(0, 0.995 * error.min(), 120), law.floor)
    theta = np.repeat(law.theta[None], len(floors), axis=0)
    theta[:, -1] = floors
    ones = np.ones((len(floors), len(error)))
    theta, sse = fitting.descend(law.terms, theta, logs, error, ones, floor_free=False)
    best = max(min(law.sse, float(sse.min())), 1e-300)
    inside = theta[len(error) * np.log(np.maximum(sse, best) / best) <= CHI2_95]
    exponents = len(law.terms.exponents) + 1
    return {
        name: Interval(float(column.min()), float(column.max()))
        for name, column in zip(law.terms.names[-exponents:], inside[:, -exponents:].T, strict=True)
    }
