"""`foveate fit`: fit a scaling law to scores, with its uncertainty."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from foveate.cli.console import Json, check_out, print_json, print_table
from foveate.defaults import QUERY_TOKENS


def fit(
    scores: Annotated[
        str,
        typer.Argument(help="CSV of params_b,visual_tokens,score; or reasoning, ocr: published."),
    ],
    form: Annotated[str, typer.Option(help="product, additive, or both.")] = "both",
    text: Annotated[float, typer.Option(help="Text tokens that count into T.")] = 0.0,
    figure: Annotated[Path | None, typer.Option(help="Draw error over FLOPs there.")] = None,
    query: Annotated[
        float, typer.Option(help="Uncached text tokens of the figure's axis.")
    ] = QUERY_TOKENS,
    as_json: Json = False,
) -> None:
    """Fit the scaling law to scores: parameters with intervals, and what they cannot tell."""
    from foveate.laws.figure import FORMATS, draw
    from foveate.laws.law import FORMS, fit_points, largest_held_out
    from foveate.laws.points import FAMILIES, published, read_points

    if figure is not None:
        check_out("--figure", figure, *FORMATS)
    points = published(scores) if scores in FAMILIES else read_points(Path(scores))
    laws = [fit_points(points, name, text) for name in (FORMS if form == "both" else (form,))]
    if figure is not None:
        draw(laws[0], figure, query)
        sys.stderr.write(f"Wrote {figure}.\n")
    if as_json:
        print_json([law_document(law) for law in laws])
        return
    for law in laws:
        columns = ("parameter", "value", "95 %, bootstrap", "95 %, over every floor that fits")
        table, profile = Table(*columns, title=f"{law.form}, T = {law.tokens}"), law.profile()
        for name, found in law.interval().items():
            value = law.alpha / law.beta if name == "alpha / beta" else getattr(law, name)
            ranges = (found, profile.get(name))
            cells = (f"{ends.low:.4f} to {ends.high:.4f}" if ends else "-" for ends in ranges)
            table.add_row(name, f"{value:.4f}", *cells)
        print_table(table)
        aicc = "-" if law.aicc is None else f"{law.aicc:.1f}"
        sys.stdout.write(
            f"{len(points.error)} points, squared error {law.sse:.3e}, rmse {law.rmse:.4f}, "
            f"AICc {aicc}\n{held_out_text(largest_held_out(points, law.form, text))}\n"
            "Not identifiable:\n"
        )
        sys.stdout.write("".join(f"- {note}\n" for note in law.unidentified()) + "\n")


def held_out_text(rows: list[dict[str, float | None]]) -> str:
    """How well the largest size was predicted from the others."""
    if not rows:
        return "The largest size cannot be held out: too few points are left"
    relative = [abs(row["relative"]) for row in rows if row["relative"] is not None]
    if not relative:
        return f"The largest size, {rows[0]['params_b']:g}B, made no error to compare with"
    worst = max(relative)
    return f"Fitted to smaller sizes, it predicts {rows[0]['params_b']:g}B within {worst:.2%}"


def law_document(law: Any) -> dict[str, Any]:
    """What `fit --json` prints of a law."""
    from foveate.laws.law import largest_held_out

    return {
        **{name: value for name, value in vars(law).items() if name != "points"},
        "tokens": law.tokens,
        "points": len(law.points.error),
        "rmse": law.rmse,
        "aicc": law.aicc,
        "interval": {name: asdict(found) for name, found in law.interval().items()},
        "largest_held_out": largest_held_out(law.points, law.form, law.text_tokens),
        "profile": {name: asdict(found) for name, found in law.profile().items()},
        "unidentified": law.unidentified(),
    }
