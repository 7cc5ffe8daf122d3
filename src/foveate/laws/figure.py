"""The paper's figure: error over inference FLOPs, a curve for each size, and the frontier."""

from pathlib import Path
from typing import Any

import numpy as np

from foveate.defaults import QUERY_TOKENS
from foveate.errors import InputError, MissingExtraError
from foveate.laws.frontier import frontier
from foveate.laws.law import Law
from foveate.laws.points import Number

FORMATS = (".png", ".pdf", ".svg")


def draw(law: Law, path: Path, query_tokens: Number = QUERY_TOKENS) -> None:
    """Write the figure of a law and its points.

    Args:
        law: what to draw.
        path: .png, .pdf or .svg.
        query_tokens: uncached text tokens of the FLOP axis, `2 N (Q + V)`.

    Raises:
        InputError: the folder or the format does not exist.
        MissingExtraError: matplotlib is absent.
    """
    if path.suffix not in FORMATS or not path.resolve().parent.is_dir():
        raise InputError(f"a figure is a {', '.join(FORMATS)} in an existing folder, got {path}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Drawing", "plot") from None
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    points = law.points
    counts = np.geomspace(min(points.tokens), max(points.tokens), 60)
    for size in sorted(set(points.params_b)):
        (line,) = axes.plot(
            _flops(size, counts, query_tokens),
            [law.predict(size, count) for count in counts],
            label=f"{size:g}B",
        )
        seen = [i for i, other in enumerate(points.params_b) if other == size]
        axes.scatter(
            _flops(size, np.array([points.tokens[i] for i in seen]), query_tokens),
            [points.error[i] for i in seen],
            color=line.get_color(),
            s=14,
        )
    _draw_frontier(axes, law, counts, query_tokens)
    axes.set_xscale("log")
    axes.set_xlabel(f"LLM inference FLOPs, 2 N ({query_tokens:g} + V)")
    axes.set_ylabel("error")
    axes.set_title(f"alpha {law.alpha:.3f}, beta {law.beta:.3f} ({law.form}, T = {law.tokens})")
    axes.legend()
    figure.savefig(path, dpi=150)


def _draw_frontier(axes: Any, law: Law, counts: Any, query_tokens: Number) -> None:
    sizes = law.points.params_b
    budgets = np.geomspace(
        _flops(min(sizes), counts[0], query_tokens),
        _flops(max(sizes), counts[-1], query_tokens),
        40,
    )
    tokens = (float(counts[0]), float(counts[-1]))
    best = frontier(law, list(budgets), query_tokens, tokens=tokens, draws=2)
    axes.plot(
        [
            2e9 * found.best.params_b * (query_tokens + found.best.visual_tokens)
            for _, found in best
        ],
        [found.best.error for _, found in best],
        "k:",
        label="best size and count",
    )


def _flops(size: float, counts: Any, query_tokens: Number) -> Any:
    return 2e9 * size * (query_tokens + counts)
