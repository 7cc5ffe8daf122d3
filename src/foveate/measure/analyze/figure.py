"""The figure of an analysis: who attends to visual tokens, what they are worth, how alike they are."""

from pathlib import Path

from foveate.errors import InputError
from foveate.figures import blank
from foveate.measure.analyze.analysis import Analysis

FORMATS = (".png", ".pdf", ".svg")


def draw(analysis: Analysis, path: Path) -> None:
    """Write four panels.

    Raises:
        InputError: the folder or the format does not exist.
        MissingExtraError: matplotlib is absent.
    """
    if path.suffix not in FORMATS or not path.resolve().parent.is_dir():
        raise InputError(f"a figure is a {', '.join(FORMATS)} in an existing folder, got {path}")
    figure, ((reads, worth), (hidden, alike)) = blank(2, 2, (11.0, 7.0))
    for name, shares in (("text", analysis.without_text), ("visual", analysis.without_visual)):
        hidden.plot([100 * share for share in shares], marker="o", label=f"{name} hidden")
    hidden.set(title="First token unchanged", xlabel="hidden after layer", ylabel="% of questions")
    hidden.legend(frameon=False)
    seen = [100 * share for share in analysis.visual_mass]
    reads.bar(range(analysis.layers), seen, color="#0072b2", label="visual tokens")
    sink = [100 * share for share in analysis.first_mass]
    reads.plot(sink, color="#d55e00", marker="o", label="the first token, a sink")
    reads.set(title="Where text's attention falls", xlabel="layer", ylabel="% of its mass")
    reads.legend(frameon=False)
    dropped = [row for row in analysis.tried if row.what == "drop after"]
    worth.errorbar(
        [row.value for row in dropped],
        [100 * row.accuracy for row in dropped],
        yerr=[
            [100 * (row.difference.mean - row.difference.low) for row in dropped],
            [100 * (row.difference.high - row.difference.mean) for row in dropped],
        ],
        color="#d55e00",
        marker="o",
    )
    worth.axhline(100 * analysis.accuracy, color="black", linestyle=":", label="unreduced")
    if analysis.prune is not None:
        worth.axvspan(*analysis.prune, color="#e3e6ea", zorder=0, label="suggested window")
    worth.set(title="All dropped after a layer", xlabel="layer", ylabel="accuracy, %")
    worth.legend(frameon=False)
    for name, values in analysis.merged.items():
        alike.hist(values, bins=20, alpha=0.6, label=name)
    alike.set(title="Tokens merged first", xlabel="mean cosine similarity", ylabel="groups")
    alike.legend(frameon=False)
    for axes in (reads, worth, hidden, alike):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
