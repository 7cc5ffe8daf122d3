"""The paper's figure: error over inference FLOPs, a curve for each size, and the frontier."""

from pathlib import Path
from typing import Any

import numpy as np

from foveate.defaults import QUERY_TOKENS
from foveate.errors import InputError
from foveate.figures import blank
from foveate.laws.axis import Axis
from foveate.laws.frontier import frontier
from foveate.laws.law import Law
from foveate.laws.points import Number

FORMATS = (".png", ".pdf", ".svg")


def draw(
    law: Law, path: Path, query_tokens: Number = QUERY_TOKENS, encoder_flops: Number = 0.0
) -> None:
    """Write the figure of a law and its points: a curve for each size and count of frames.

    Args:
        law: what to draw.
        path: .png, .pdf or .svg.
        query_tokens: uncached text tokens of the FLOP axis, `F E + 2 N (Q + F V)`.
        encoder_flops: E of that axis, of the vision encoder a picture or frame; 0 leaves it out.

    Raises:
        InputError: the folder or the format does not exist, or a number below 0.
        MissingExtraError: matplotlib is absent.
    """
    if path.suffix not in FORMATS or not path.resolve().parent.is_dir():
        raise InputError(f"a figure is a {', '.join(FORMATS)} in an existing folder, got {path}")
    axis = Axis(query_tokens, encoder_flops)
    figure, ((axes,),) = blank(size=(6.4, 4.8))
    for place, size in enumerate(sorted(set(law.points.params_b))):
        _draw_size(axes, law, size, axis, f"C{place % 10}")
    _draw_frontier(axes, law, axis)
    axes.set_xscale("log")
    axes.set_xlabel(f"FLOPs, {axis.formula(frames=law.points.frames is not None)}")
    axes.set_ylabel("error")
    exponents = ", ".join(f"{name} {getattr(law, name):.3f}" for name in law.terms.exponents)
    axes.set_title(f"{exponents} ({law.form}, T = {law.tokens})")
    axes.legend()
    figure.savefig(path, dpi=150)


def _draw_size(axes: Any, law: Law, size: float, axis: Axis, color: str) -> None:
    points = law.points
    counts = np.geomspace(min(points.tokens), max(points.tokens), 60)
    every = points.frames or (1.0,) * len(points.error)
    for place, frames in enumerate(sorted(set(every))):
        axes.plot(
            [axis.flops(size, count, frames) for count in counts],
            [law.predict(size, count, frames) for count in counts],
            color=color,
            label=None if place else f"{size:g}B",
        )
    measured = zip(points.params_b, points.tokens, every, points.error, strict=True)
    seen = [(axis.flops(*cell), error) for *cell, error in measured if cell[0] == size]
    axes.scatter(*zip(*seen, strict=True), color=color, s=14)


def _draw_frontier(axes: Any, law: Law, axis: Axis) -> None:
    points = law.points
    frames, tokens = points.frames or (1.0,), (min(points.tokens), max(points.tokens))
    low, high = (axis.flops(end(points.params_b), end(tokens), end(frames)) for end in (min, max))
    shared = {"tokens": tokens, "encoder_flops": axis.encoder_flops, "draws": 2}
    found = frontier(law, list(np.geomspace(low, high, 40)), axis.text_tokens, **shared)
    best = [at.best for _, at in found]
    axes.plot(
        [axis.flops(at.params_b, at.visual_tokens, at.frames) for at in best],
        [at.error for at in best],
        "k:",
        label="best choice",
    )
