"""Least squares for the law's two forms, many at a time: fit, bootstrap and profile share one loop.

Levenberg-Marquardt from the best cell of a fixed grid over the exponents, where scales and floor are
linear. Nothing is random, so the same points give the same law.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Form = Literal["product", "additive"]
FORMS = ("product", "additive")
EXPONENTS = np.geomspace(0.002, 3.0, 28)
STEPS = 60


def terms(form: Form, theta: Array, log_n: Array, log_t: Array) -> list[Array]:
    """The law's power terms, (B, n) each; theta is (B, k): log scale, alpha, [log scale], beta, floor."""
    if form == "product":
        return [np.exp(theta[:, :1] - theta[:, 1:2] * log_n - theta[:, 2:3] * log_t)]
    return [
        np.exp(theta[:, :1] - theta[:, 1:2] * log_n),
        np.exp(theta[:, 2:3] - theta[:, 3:4] * log_t),
    ]


def predict(form: Form, theta: Array, log_n: Array, log_t: Array) -> Array:
    """(B, n) errors."""
    return sum(terms(form, theta, log_n, log_t)) + theta[:, -1:]


def _jacobian(form: Form, powers: list[Array], log_n: Array, log_t: Array) -> Array:
    """(B, n, k)."""
    ones = np.ones_like(powers[0])
    if form == "product":
        (power,) = powers
        return np.stack([power, -power * log_n, -power * log_t, ones], axis=-1)
    by_n, by_t = powers
    return np.stack([by_n, -by_n * log_n, by_t, -by_t * log_t, ones], axis=-1)


def start(form: Form, log_n: Array, log_t: Array, error: Array) -> Array:
    """(1, k): the best cell of the grid, its linear parameters solved for."""
    alpha, beta = (grid.ravel() for grid in np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij"))
    by_n, by_t = np.exp(-alpha[:, None] * log_n), np.exp(-beta[:, None] * log_t)
    one = np.ones_like(by_n)
    columns = [by_n * by_t, one] if form == "product" else [by_n, by_t, one]
    design = np.stack(columns, axis=-1)  # (cells, n, linear)
    normal = design.mT @ design + 1e-12 * np.eye(len(columns))
    linear = np.linalg.solve(normal, design.mT @ error[:, None])[..., 0]
    linear = np.maximum(linear, 1e-4)  # scales and floor are positive
    sse = ((np.einsum("cnl,cl->cn", design, linear) - error) ** 2).sum(1)
    best = int(sse.argmin())
    logs = np.log(linear[best, :-1])
    exponents = (alpha[best], beta[best])
    theta = [value for pair in zip(logs, exponents, strict=False) for value in pair]
    if form == "product":
        theta.append(exponents[1])
    return np.array([[*theta, linear[best, -1]]])


def descend(
    form: Form,
    theta: Array,
    log_n: Array,
    log_t: Array,
    error: Array,
    weights: Array,
    *,
    floor_free: bool,
) -> tuple[Array, Array]:
    """Levenberg-Marquardt on B problems at once; the floor is fitted, at least 0, or fixed.

    Args:
        form: of the law.
        theta: (B, k), where to start.
        log_n: (n,), logarithms of the sizes.
        log_t: (n,), logarithms of the tokens.
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
        return (weights * (predict(form, at, log_n, log_t) - error) ** 2).sum(1)

    sse = loss(theta)
    eye = np.eye(free)
    for _ in range(STEPS):
        powers = terms(form, theta, log_n, log_t)
        slope = _jacobian(form, powers, log_n, log_t)[..., :free]
        residual = sum(powers) + theta[:, -1:] - error
        weighted = weights[..., None] * slope
        gradient = (weighted * residual[..., None]).sum(1)
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
    form: Form, theta: Array, log_n: Array, log_t: Array, error: Array, weights: Array
) -> tuple[Array, Array]:
    """The better of a fitted floor and none, for each of B weightings."""
    given = (log_n, log_t, error, weights)
    none = theta.copy()
    none[:, -1] = 0
    free, free_sse = descend(form, theta, *given, floor_free=True)
    bound, bound_sse = descend(form, none, *given, floor_free=False)
    better = free_sse < bound_sse * (1 - 1e-9)  # a tie goes to the simpler law
    return np.where(better[:, None], free, bound), np.where(better, free_sse, bound_sse)
