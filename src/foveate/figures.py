"""How figures look, and the two panels that reports, answers and plans draw of themselves."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from foveate.errors import MissingExtraError

# distinguishable also without colour vision; after Okabe and Ito, darkened for white paper
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#332288", "#56a0d3", "#882255")
PLAIN = "#8a8f98"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.fonttype": "none",
    "svg.hashsalt": "foveate",
    "text.parse_math": False,  # a name or an answer may contain dollar signs
}


def style() -> Any:
    """While open, figures look like ours.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("Drawing", "plot") from None
    return matplotlib.rc_context(STYLE)


def blank(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None
) -> tuple[Any, Any]:
    """An empty figure, which a notebook shows as it is, and its panels, row by row.

    Args:
        rows: of panels.
        columns: of panels.
        size: width and height in inches; by default so much for each panel.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Drawing", "plot") from None

    class Shown(Figure):
        """A figure that a notebook shows, whether or not pyplot was ever imported there."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    figure = Shown(figsize=size or (4.2 * columns + 1.8, 3.4 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_tokens(
    axes: Any, by_layer: Sequence[Sequence[int]], unreduced: Sequence[int], names: Sequence[str]
) -> None:
    """The visual tokens that each layer computes, and dashed those of the prompt, of 8 samples at most.

    Args:
        axes: the panel.
        by_layer: one entry a layer, of each sample.
        unreduced: visual tokens of the prompt, of each sample.
        names: of each sample.
    """
    drawn = zip(COLOURS, by_layer, unreduced, names, strict=False)  # as many as there are colours
    for colour, counts, whole, name in drawn:
        axes.plot(counts, color=colour, drawstyle="steps-mid", label=name)
        axes.axhline(whole, color=colour, linestyle="--", linewidth=1)
    axes.set(title="Visual tokens (dashed: of the prompt)", xlabel="layer", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(by_layer) > 1:
        axes.legend(frameon=False)


def draw_pairs(axes: Any, rows: Mapping[str, tuple[float, float]], title: str) -> None:
    """Two bars under each other for each name: unreduced, and reduced with its share of that.

    Args:
        axes: the panel.
        rows: unreduced and reduced, by name.
        title: what they count, and its unit.
    """
    before, after = ([pair[side] for pair in rows.values()] for side in (0, 1))
    places, look = [float(place) for place in range(len(rows))], {"height": 0.38}
    axes.barh(places, before, color=PLAIN, label="unreduced", **look)
    lower = [place + 0.4 for place in places]
    bars = axes.barh(lower, after, color=COLOURS[0], label="reduced", **look)
    shares = [f"{now / whole:.0%}" if whole else "-" for whole, now in rows.values()]
    axes.bar_label(bars, shares, padding=3)
    axes.set_yticks([place + 0.2 for place in places], list(rows))
    axes.invert_yaxis()
    axes.set(title=title)
    axes.margins(x=0.15)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def draw_shares(axes: Any, rows: Mapping[str, tuple[float, float, str]]) -> None:
    """The same in percent of unreduced, for amounts of unlike units.

    Args:
        axes: the panel.
        rows: unreduced, reduced, and their unit, by name.
    """
    shares = {
        f"{name}\n{after:,.3g} of\n{before:,.3g} {unit}": (
            (100.0, 100 * after / before) if before else (0.0, 0.0)
        )
        for name, (before, after, unit) in rows.items()
    }
    draw_pairs(axes, shares, "% of unreduced")
