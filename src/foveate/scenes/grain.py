"""Grain: noise as coarse and fine as that of photos, and patterns."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import fft

Plane = Float[np.ndarray, "height width"]


def noise(height: int, width: int, slope: float, rng: np.random.Generator) -> Plane:
    """Noise whose amplitude falls with frequency to the power `slope`.

    Photos have about 1; with more it is smoother, with less rougher.
    """
    white = rng.standard_normal((height, width), dtype=np.float32)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = np.asarray(fft.rfft2(white)) * frequency.astype(np.float32) ** -slope
    return np.asarray(fft.irfft2(spectrum, s=(height, width)))


def standard(plane: Plane) -> Plane:
    """The plane with mean 0 and deviation 1; a flat one is 0."""
    centred = plane - plane.mean()
    return centred / max(float(centred.std()), 1e-6)


def _plain(x: Plane, y: Plane) -> Plane:
    return np.zeros_like(x)


def _stripes(x: Plane, y: Plane) -> Plane:
    return np.sign(np.sin(x + y))


def _checks(x: Plane, y: Plane) -> Plane:
    return np.sign(np.sin(x) * np.sin(y))


def _dots(x: Plane, y: Plane) -> Plane:
    return np.where(np.cos(x) + np.cos(y) > 0.9, 1.0, -1.0)


def _rings(x: Plane, y: Plane) -> Plane:
    return np.sign(np.sin(np.hypot(x, y)))


PATTERNS: dict[str, Callable[[Plane, Plane], Plane]] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "rings": _rings,
}


def pattern(name: str, height: int, width: int, period: float) -> Plane:
    """A pattern that repeats every `period` pixels, about the middle of the plane."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turn = 2 * np.pi / period
    return standard(PATTERNS[name]((x - width / 2) * turn, (y - height / 2) * turn))
