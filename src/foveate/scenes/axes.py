"""How a chart is drawn: one matplotlib figure for each size, used again."""

from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from foveate.scenes.pen import LETTER, letter
from foveate.scenes.sample import COLOURS
from foveate.scenes.sources import require

if TYPE_CHECKING:
    from foveate.scenes.charts import Chart

DOTS = 100  # an inch
TOP = 10  # of the axis of values
# colours that can be seen on white; where another is used the ground is dark
ON_WHITE = {"red", "green", "blue", "pink", "orange"}
_LOCK = Lock()  # figures are used again, by whichever thread


@dataclass(frozen=True)
class _Figure:
    """A figure of a size, its canvas, and its axes."""

    canvas: Any
    axes: Any


@cache
def _figure(size: int) -> _Figure:
    figure = require("matplotlib.figure").Figure((size / DOTS, size / DOTS), DOTS)
    canvas = require("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_label_coords(0, 0)  # else a place is looked for, for a label that is not there
    return _Figure(canvas, axes)


def paint(plan: "Chart", size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The chart as RGB pixels; nothing stays of what was drawn before."""
    with _LOCK:
        drawn = _figure(size)
        for artist in (*drawn.axes.patches, *drawn.axes.lines):
            artist.remove()
        _frame(drawn.axes, plan, size)
        (_bars if plan.kind == "bars" else _lines)(drawn.axes, plan, size)
        drawn.canvas.draw()
        return np.array(drawn.canvas.buffer_rgba())[..., :3]


def _frame(axes: Any, plan: "Chart", size: int) -> None:
    """Place, ground and ticks of the axes."""
    pixels = letter(size)
    points = 72 / DOTS
    is_light = set(plan.colours) <= ON_WHITE
    ground = 0.92 + 0.08 * plan.shade if is_light else 0.05 + 0.13 * plan.shade
    ink = "black" if is_light else "white"
    left, below = (7.2 if plan.lies else 1.9) * pixels / size, 1.7 * pixels / size
    axes.set_position(
        (left, below, 1 - left - 0.8 * pixels / size, 1 - below - 0.6 * pixels / size)
    )
    axes.figure.set_facecolor((ground,) * 3)
    axes.set_facecolor((ground,) * 3)
    size_of = {"labelsize": 0.9 * pixels * points, "length": 0.2 * pixels * points}
    axes.tick_params(
        colors=ink, labelfontfamily="DejaVu Sans", pad=0.15 * pixels * points, **size_of
    )
    axes.spines[["left", "bottom"]].set_color(ink)
    places, numbers = range(len(plan.labels)), range(0, TOP + 1, 2 if size < 2 * 144 else 1)
    across, up = ("y", "x") if plan.lies else ("x", "y")
    axes.grid(False)
    if plan.has_grid:
        axes.grid(True, axis=up, color="grey", linewidth=0.5 * pixels / LETTER)
    axes.set(**{f"{up}lim": (0, TOP), f"{across}lim": (-0.6, len(places) - 0.4)})
    getattr(axes, f"set_{up}ticks")(numbers, [str(number) for number in numbers])
    getattr(axes, f"set_{across}ticks")(places, plan.labels)


def _bars(axes: Any, plan: "Chart", size: int) -> None:
    """Bars, standing or lying."""
    shape = {"edgecolor": "grey", "linewidth": 0.5, "zorder": 2}
    colours = [tuple(part / 255 for part in COLOURS[colour]) for colour in plan.colours]
    draw = axes.barh if plan.lies else axes.bar
    draw(range(len(plan.labels)), plan.values[0], 0.65, color=colours, **shape)


def _lines(axes: Any, plan: "Chart", size: int) -> None:
    """Lines with a dot at each point."""
    wide = letter(size) * 0.13
    for colour, values in zip(plan.colours, plan.values, strict=True):
        tone = tuple(part / 255 for part in COLOURS[colour])
        axes.plot(
            range(len(values)), values, "-o", color=tone, linewidth=wide, markersize=2.6 * wide
        )
