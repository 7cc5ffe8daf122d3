"""Train or merge, as a figure: error over the FLOPs of a whole request, a panel for each task."""

from typing import Any

from benchmarks.study.pictures import PATCHES
from benchmarks.study.trade import SIDES
from foveate.figures import COLOURS, PLAIN, blank, style
from foveate.measure.report.figures import MARKERS, png

TITLES = {"reasoning": "Reasoning", "ocr": "Reading"}
LABELS = {"trained": "trained for its tokens", "without": "merged or pruned without training"}


def plot(summary: dict[str, Any]) -> bytes:
    """The figure of results/study.json as a PNG file.

    Faint marks are models; a line is what the best of them, chosen on the validation split, gets wrong of
    the test split at a budget.
    """
    with style():
        figure, (panels,) = blank(1, len(TITLES))
        for axes, task in zip(panels, TITLES, strict=True):
            for place, (side, names) in enumerate(SIDES.items()):
                _models(axes, summary, task, place, names)
                _best(axes, summary, task, place, side)
            _models(axes, summary, task, len(SIDES), None)
            axes.set_title(TITLES[task])
            axes.set_xlabel("GFLOP of encoder, compressor and LLM")
            axes.set_ylabel("error, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return png(figure)


def _models(
    axes: Any, summary: dict[str, Any], task: str, place: int, names: tuple[str, ...] | None
) -> None:
    """Faint marks: the models of some methods at fewer tokens; with None, all patches."""
    rows = [
        row
        for row in summary["cells"]
        if row["frames"] is None
        and (row["tokens"] == PATCHES if names is None else row["compressor"] in names)
        and (names is None or row["tokens"] < PATCHES)
    ]
    axes.plot(
        [row["flops"] / 1e9 for row in rows],
        [100 * row[task]["mean"] for row in rows],
        linestyle="none",
        marker=MARKERS[place],
        markersize=4,
        alpha=0.45,
        color=PLAIN if names is None else COLOURS[place],
        label="all patches" if names is None else None,
    )


def _best(axes: Any, summary: dict[str, Any], task: str, place: int, side: str) -> None:
    rows = [
        row for row in summary["trade"] if (row["task"], row["counted"]) == (task, "whole request")
    ]
    axes.step(
        [row["budget"] / 1e9 for row in rows],
        [100 * row[side]["error"] for row in rows],
        where="post",
        color=COLOURS[place],
        linewidth=1.6,
        label=LABELS[side],
    )
