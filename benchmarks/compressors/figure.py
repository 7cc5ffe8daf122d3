"""Accuracy over visual tokens, a panel for each kind of question, a line for each rival."""

from typing import Any

from benchmarks.compressors.summary import KINDS
from foveate.figures import COLOURS, PLAIN, blank, style
from foveate.measure.report.figures import MARKERS, png

TITLES = {
    "reasoning": "Reasoning",
    "ocr": "Reading",
    "lookups": "Colour of a digit, digit of a colour",
}


def plot(summary: dict[str, Any]) -> bytes:
    """The figure of a summary as a PNG file; bars are 95 % intervals, cells not run are left out."""
    names = list(dict.fromkeys(row["rival"] for row in summary["rows"]))
    with style():
        figure, (panels,) = blank(1, len(KINDS))
        for axes, kind in zip(panels, KINDS, strict=True):
            for place, name in enumerate(names):
                _line(axes, summary, name, kind, place)
            axes.set_xscale("log", base=2)
            ticks = sorted({row["tokens"] for row in summary["rows"]})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_title(TITLES[kind])
            axes.set_xlabel("visual tokens")
            axes.set_ylabel("accuracy, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return png(figure)


def _line(axes: Any, summary: dict[str, Any], name: str, kind: str, place: int) -> None:
    rows = [row for row in summary["rows"] if row["rival"] == name and row[kind] is not None]
    if not rows:
        return
    found = [row[kind] for row in rows]
    plain = name == "average-pool"
    axes.errorbar(
        [row["tokens"] * 1.03 ** (place - 2) for row in rows],
        [100 * one["mean"] for one in found],
        yerr=[
            [100 * (one["mean"] - one["low"]) for one in found],
            [100 * (one["high"] - one["mean"]) for one in found],
        ],
        label=name,
        color=PLAIN if plain else COLOURS[place % len(COLOURS)],
        linestyle="--" if plain else "-",
        marker=MARKERS[place % len(MARKERS)],
        markersize=5,
        linewidth=1.4,
        elinewidth=0.8,
    )
