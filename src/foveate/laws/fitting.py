"""Least squares for every form of law, many at a time: fit, bootstrap and profile share one loop.

A form is data: terms, each the product of some axes' powers under a scale of its own, and a floor. An
axis has one exponent, in whichever terms it stands. Levenberg-Marquardt starts from the best cell of a
fixed grid over the exponents, where scales and floor are linear, and from the fits of the forms that are
nested in this one, so that none of them fits better. Nothing is random: same points, same law.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Form = Literal["product", "additive", "interaction"]
FORMS: tuple[Form, ...] = ("product", "additive", "interaction")
AXES = ("size", "token", "frame")
EXPONENTS = ("alpha", "beta", "gamma")
GRID = {2: 28, 3: 12}  # exponents tried an axis, by the number of axes
RANGE = (0.002, 3.0)
ABSENT = -20.0  # logarithm of the scale of a term that a nested form lacks
STEPS = 60


@dataclass(frozen=True)
class Terms:
    """A form over its axes; parameters theta are (B, k): a scale a term, an exponent an axis, the floor.

    Attributes:
        form: its name.
        axes: 2 for size and tokens, 3 for size, tokens and frames.
    """

    form: Form
    axes: int = 2

    @cached_property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The axes of each term: all in one, each alone, or each alone and every two together."""
        axes = range(self.axes)
        if self.form == "product":
            return (tuple(axes),)
        orders = (1,) if self.form == "additive" else (1, 2)
        return tuple(term for order in orders for term in combinations(axes, order))

    @cached_property
    def signed(self) -> NDArray[np.bool_]:
        """Of each term, whether its scale may be below 0: only where its axes have terms alone too."""
        return np.array([len(self.members) > 1 and len(term) > 1 for term in self.members])

    @cached_property
    def scales(self) -> tuple[str, ...]:
        """Names of the terms' scales; the first is `scale`."""
        named = ["_".join([*(AXES[axis] for axis in term), "scale"]) for term in self.members]
        return ("scale", *named[1:])

    @cached_property
    def exponents(self) -> tuple[str, ...]:
        """Names of the axes' exponents."""
        return EXPONENTS[: self.axes]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in theta's order."""
        return (*self.scales, *self.exponents, "floor")

    @cached_property
    def logarithms(self) -> NDArray[np.bool_]:
        """Of each parameter, whether theta holds its logarithm: scales that stay above 0."""
        return np.append(~self.signed, np.zeros(self.axes + 1, dtype=bool))

    @cached_property
    def holds(self) -> Array:
        """(terms, axes): 1 where the term has the axis."""
        return np.array(
            [[float(axis in term) for axis in range(self.axes)] for term in self.members]
        )

    @cached_property
    def nested(self) -> tuple["Terms", ...]:
        """Forms whose terms are some of these."""
        forms = (Terms(form, self.axes) for form in FORMS)
        return tuple(form for form in forms if set(form.members) < set(self.members))

    def embed(self, nested: "Terms", theta: Array) -> Array:
        """A nested form's parameters as this form's."""
        scales = np.where(self.signed, 0.0, ABSENT)
        for term, log_scale in zip(nested.members, theta, strict=False):
            place = self.members.index(term)
            scales[place] = np.exp(log_scale) if self.signed[place] else log_scale
        return np.concatenate([scales, theta[len(nested.members) :]])

    def values(self, theta: Array) -> Array:
        """Parameters as they are read: theta with its logarithms undone."""
        return np.where(self.logarithms, np.exp(np.where(self.logarithms, theta, 0)), theta)

    def powers(self, theta: Array, logs: Array) -> Array:
        """(B, terms, n): the terms without their scales; logs is (axes, n)."""
        exponents = theta[:, None, len(self.members) : -1] * self.holds
        return np.exp(-(exponents @ logs))

    def predict(self, theta: Array, logs: Array) -> Array:
        """(B, n) errors."""
        scales = self.values(theta)[:, : len(self.members)]
        exponents = theta[:, len(self.members) : -1]
        errors = np.repeat(theta[:, -1:], logs.shape[1], axis=1)
        for scale, holds in zip(scales.T, self.holds, strict=True):  # one term in memory at a time
            errors += scale[:, None] * np.exp(-(exponents * holds) @ logs)
        return errors

    def linearize(self, theta: Array, logs: Array) -> tuple[Array, Array]:
        """(B, n) errors and their (B, n, k) slopes."""
        powers = self.powers(theta, logs)
        terms = self.values(theta)[:, : len(self.members), None] * powers
        by_scale = np.where(self.signed[:, None], powers, terms)
        by_exponent = -(terms.mT @ self.holds) * logs.T
        one = np.ones((*by_exponent.shape[:2], 1))
        slopes = np.concatenate([by_scale.mT, by_exponent, one], axis=-1)
        return terms.sum(1) + theta[:, -1:], slopes


def best(terms: Terms, logs: Array, error: Array) -> tuple[Array, float]:
    """(k,) parameters of the least squared error found, and that error."""
    nested = [terms.embed(form, best(form, logs, error)[0]) for form in terms.nested]
    theta = np.stack([_best_cell(terms, logs, error), *nested])
    theta, sse = fit(terms, theta, logs, error, np.ones((len(theta), len(error))))
    return theta[sse.argmin()], float(sse.min())


def _best_cell(terms: Terms, logs: Array, error: Array) -> Array:
    """(k,): the best cell of the grid, its linear parameters solved for."""
    tried = np.geomspace(*RANGE, GRID[terms.axes])
    cells = np.stack([axis.ravel() for axis in np.meshgrid(*[tried] * terms.axes, indexing="ij")])
    count = len(terms.members)
    theta = np.concatenate(
        [np.zeros((len(cells.T), count)), cells.T, np.zeros((len(cells.T), 1))], 1
    )
    powers = terms.powers(theta, logs)
    design = np.concatenate([powers, np.ones_like(powers[:, :1])], axis=1).mT  # (cells, n, linear)
    normal = design.mT @ design + 1e-12 * np.eye(count + 1)
    linear = np.linalg.solve(normal, design.mT @ error[:, None])[..., 0]
    linear = np.where(np.append(terms.signed, False), linear, np.maximum(linear, 1e-4))
    chosen = int(((np.einsum("cnl,cl->cn", design, linear) - error) ** 2).sum(1).argmin())
    scales = linear[chosen, :-1]
    scales = np.where(terms.signed, scales, np.log(np.where(terms.signed, 1, scales)))
    return np.concatenate([scales, cells[:, chosen], linear[chosen, -1:]])


def descend(
    terms: Terms, theta: Array, logs: Array, error: Array, weights: Array, *, floor_free: bool
) -> tuple[Array, Array]:
    """Levenberg-Marquardt on B problems at once; the floor is fitted, at least 0, or fixed.

    Args:
        terms: of the law.
        theta: (B, k), where to start.
        logs: (axes, n), logarithms of sizes, tokens and, with three axes, frames.
        error: (n,).
        weights: (B, n), how many times each point counts.
        floor_free: whether the floor is fitted.

    Returns:
        (B, k) parameters and (B,) weighted squared errors.
    """
    theta = theta.copy()
    free = theta.shape[1] - (0 if floor_free else 1)
    damping = np.full(len(theta), 1e-3)

    def loss(at: Array) -> Array:
        return (weights * (terms.predict(at, logs) - error) ** 2).sum(1)

    sse = loss(theta)
    eye = np.eye(free)
    for _ in range(STEPS):
        predicted, slope = terms.linearize(theta, logs)
        slope = slope[..., :free]
        weighted = weights[..., None] * slope
        gradient = (weighted * (predicted - error)[..., None]).sum(1)
        normal = weighted.mT @ slope
        scale = np.einsum("bii->bi", normal)[..., None] * eye
        step = np.linalg.solve(
            normal + damping[:, None, None] * scale + 1e-15 * eye, gradient[..., None]
        )[..., 0]
        tried = theta.copy()
        tried[:, :free] -= np.clip(step, -2, 2)
        tried[:, -1] = np.maximum(tried[:, -1], 0) if floor_free else theta[:, -1]
        after = loss(tried)
        better = after <= sse
        gained = np.where(better, sse - after, 0).max(initial=0)
        settled = better & (sse - after <= 1e-13 * sse)
        theta = np.where(better[:, None], tried, theta)
        sse = np.where(better, after, sse)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-12, 1e9)
        if settled.all() or (not gained and (damping > 1e6).all()):
            break
    return theta, sse


def fit(
    terms: Terms, theta: Array, logs: Array, error: Array, weights: Array
) -> tuple[Array, Array]:
    """The better of a fitted floor and none, for each of B weightings."""
    none = theta.copy()
    none[:, -1] = 0
    free, free_sse = descend(terms, theta, logs, error, weights, floor_free=True)
    bound, bound_sse = descend(terms, none, logs, error, weights, floor_free=False)
    better = free_sse < bound_sse * (1 - 1e-9)  # a tie goes to the simpler law
    return np.where(better[:, None], free, bound), np.where(better, free_sse, bound_sse)
