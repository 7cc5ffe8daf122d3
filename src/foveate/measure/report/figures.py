"""The figures of a report: accuracy over cost, a panel for each task, and accuracy on hard questions."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from foveate.figures import COLOURS, PLAIN, blank, style
from foveate.records.journal import UNREDUCED
from foveate.records.split import Split
from foveate.records.summary import MEAN, Row, Summary

MARKERS = "osD^vP*X"
INK, FAINT = "#1c2024", "#d9dce1"


def over_flops(summary: Summary) -> Any:
    """Accuracy over the share of the unreduced LLM FLOPs."""
    return _panels(
        summary,
        lambda row: 100 * row.llm_share,
        lambda row: row.on_front,
        "LLM FLOPs, % of unreduced",
    )


def over_time(summary: Summary) -> Any | None:
    """Accuracy over the share of the unreduced time to the first token; None without a stopwatch."""
    if all(row.speedup is None for row in summary.overall):
        return None
    return _panels(
        summary,
        lambda row: None if row.speedup is None else 100 / row.speedup,
        lambda row: bool(row.on_time_front),
        "measured time to the first token, % of unreduced",
    )


def on_hard(summary: Summary) -> Any | None:
    """Accuracy on the questions that resizing gets wrong, over the share; None if there are none."""
    known = [s for s in summary.splits if s.task == "all" and s.hard_accuracy is not None]
    if not known:
        return None
    with style():
        figure, ((axes,),) = blank(1, 1)
        for method, look in _looks(summary).items():
            mine: list[Split] = sorted(
                (split for split in known if split.method == method), key=lambda split: split.budget
            )
            if mine:
                axes.plot(
                    [100 * split.budget for split in mine],
                    [100 * (split.hard_accuracy or 0.0) for split in mine],
                    label=method,
                    **look,
                )
        axes.set_title("Questions that resizing gets wrong")
        axes.set_xlabel("share of visual tokens, %")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(0, 102)
        _log_axis(axes, [100 * split.budget for split in known])
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def svg(figure: Any) -> str:
    """A figure as an `<svg>` element to stand in a page."""
    with style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    # the page sets the size
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    with style():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _panels(
    summary: Summary,
    cost: Callable[[Row], float | None],
    on_front: Callable[[Row], bool],
    label: str,
) -> Any:
    tasks = {MEAN: summary.overall} if len(summary.by_task) > 1 else {}
    tasks |= summary.by_task
    columns = min(2, len(tasks))
    looks = _looks(summary)
    with style():
        figure, grid = blank(-(-len(tasks) // columns), columns)
        every = [axes for line in grid for axes in line]
        for axes in every[len(tasks) :]:
            axes.remove()
        for axes, (task, rows) in zip(every, tasks.items(), strict=False):
            _panel(axes, rows, cost, on_front, looks)
            axes.set_title("Mean of the tasks" if task == MEAN else task)
            axes.set_xlabel(label)
            axes.set_ylabel("accuracy, %")
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _panel(
    axes: Any,
    rows: Sequence[Row],
    cost: Callable[[Row], float | None],
    on_front: Callable[[Row], bool],
    looks: dict[str, dict[str, Any]],
) -> None:
    points = [(cost(row), row) for row in rows]
    known = sorted(((x, row) for x, row in points if x is not None), key=lambda pair: pair[0])
    front = [(x, row) for x, row in known if on_front(row)]
    axes.step(
        [x for x, _ in front],
        [100 * row.accuracy for _, row in front],
        where="post",
        color=FAINT,
        linewidth=6,
        solid_capstyle="butt",
        label="Pareto front",
        zorder=0,
    )
    for method, look in looks.items():
        mine = [(x, row) for x, row in known if row.method == method]
        if not mine:
            continue
        differences = [row.difference for _, row in mine]
        bounds = [
            [100 * (change.mean - change.low) for change in differences],
            [100 * (change.high - change.mean) for change in differences],
        ]
        axes.errorbar(
            [x for x, _ in mine],
            [100 * row.accuracy for _, row in mine],
            yerr=bounds,
            label=method,
            elinewidth=0.8,
            capsize=0,
            **look,
        )
    for _, row in known:
        if row.method == UNREDUCED:
            axes.axhline(100 * row.accuracy, color=INK, linewidth=0.6, linestyle=":", zorder=0)
    _log_axis(axes, [x for x, _ in known])


def _looks(summary: Summary) -> dict[str, dict[str, Any]]:
    """How each method is drawn: plain baselines in grey, all others in colours."""
    looks: dict[str, dict[str, Any]] = {}
    plain = coloured = 0
    for method in dict.fromkeys(row.method for row in summary.overall):
        look = {"markersize": 5, "linewidth": 1.4}
        if method == UNREDUCED:
            look |= {"color": INK, "marker": "o", "markersize": 7, "linestyle": "none"}
        elif method in summary.baselines:
            look |= {"color": PLAIN, "marker": MARKERS[plain % 8], "linestyle": "--"}
            plain += 1
        else:
            # when colours repeat, the line style differs
            line = ("-", "-.", ":")[coloured // len(COLOURS) % 3]
            look |= {
                "color": COLOURS[coloured % 8],
                "marker": MARKERS[coloured % 8],
                "linestyle": line,
            }
            coloured += 1
        looks[method] = look
    return looks


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if max(values) > 3 * min(values) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
