"""`foveate fit`: fit a scaling law to scores, with its uncertainty."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from foveate.cli.console import Json, check_out, print_json, print_table
from foveate.defaults import QUERY_TOKENS
from foveate.errors import InputError

if TYPE_CHECKING:
    from foveate.laws.held_out import HeldOut
    from foveate.laws.law import Law
    from foveate.laws.points import Points

ALIKE = 2  # difference in AICc below which points do not decide between forms


def fit(
    scores: Annotated[
        str,
        typer.Argument(
            help="CSV of params_b,visual_tokens,score and perhaps frames; or reasoning, ocr: published."
        ),
    ],
    form: Annotated[str, typer.Option(help="product, additive, interaction, or all.")] = "all",
    text: Annotated[float, typer.Option(help="Text tokens that count into T.")] = 0.0,
    figure: Annotated[Path | None, typer.Option(help="Draw error over FLOPs there.")] = None,
    query: Annotated[
        float, typer.Option(help="Uncached text tokens of the figure's axis.")
    ] = QUERY_TOKENS,
    encoder: Annotated[
        str | None,
        typer.Option(help="FLOPs to encode a picture or frame, on that axis: 0.4 TFLOP."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit scaling laws to scores: parameters with intervals, predictions, and what they cannot tell."""
    from foveate.laws.figure import FORMATS, draw
    from foveate.laws.held_out import held_out
    from foveate.laws.points import FAMILIES, published, read_points
    from foveate.planner.budget import Budget

    if figure is not None:
        check_out("--figure", figure, *FORMATS)
    encoder_flops = 0.0 if encoder is None else Budget.of_flops(encoder, "--encoder").value
    points = published(scores) if scores in FAMILIES else read_points(Path(scores))
    laws = fitted(points, form, text)
    if figure is not None:
        draw(laws[0], figure, query, encoder_flops)
        sys.stderr.write(f"Wrote {figure}.\n")
    if as_json:
        print_json([law_document(law) for law in laws])
        return
    for law in laws:
        print_table(parameters_table(law))
        aicc = "-" if law.aicc is None else f"{law.aicc:.1f}"
        sys.stdout.write(
            f"{len(points.error)} points, squared error {law.sse:.3e}, rmse {law.rmse:.4f}, "
            f"AICc {aicc}\n{held_out_text(held_out(points, law.form, text))}\nNot identifiable:\n"
        )
        sys.stdout.write("".join(f"- {note}\n" for note in law.unidentified()) + "\n")
    sys.stdout.write(choice_text(laws))


def fitted(points: "Points", form: str, text: float) -> "list[Law]":
    """Laws of the form, or of every form that has no more parameters than there are points.

    Raises:
        InputError: no such form, or too few points for any.
    """
    from foveate.laws.law import FORMS, fit_points

    if form not in (*FORMS, "all"):
        raise InputError(f"form must be one of {', '.join(FORMS)} or all, got {form!r}")
    if form != "all":
        return [fit_points(points, form, text)]
    laws = []
    for name in FORMS:
        try:
            laws.append(fit_points(points, name, text))
        except InputError as error:
            if not laws:
                raise
            sys.stderr.write(f"foveate: {error}\n")
    return laws


def parameters_table(law: "Law") -> Table:
    """A row for each parameter, with its intervals."""
    columns = ("parameter", "value", "95 %, bootstrap", "95 %, over every floor that fits")
    table, profile = Table(*columns, title=f"{law.form}, T = {law.tokens}"), law.profile()
    values = {**law.parameters, "alpha / beta": law.alpha / law.beta}
    for name, found in law.interval().items():
        ranges = (found, profile.get(name))
        cells = (f"{ends.low:.4f} to {ends.high:.4f}" if ends else "-" for ends in ranges)
        table.add_row(name, f"{values[name]:.4f}", *cells)
    return table


def held_out_text(found: "list[HeldOut]") -> str:
    """How well values were predicted from points with others, and which of them were extrapolated."""
    names = {"params_b": "{:g}B", "visual_tokens": "{:g} visual tokens", "frames": "{:g} frames"}
    parts = []
    for at in found:
        name = names[at.axis].format(at.value)
        within = "made no error to compare with" if at.worst is None else f"within {at.worst:.2%}"
        parts.append(f"{name} {within}{' (extrapolated)' if at.extrapolated else ''}")
    if not any(at.axis == "params_b" for at in found):
        parts.append("no size: too few points are left")
    return f"Fitted to the others, it predicts {', '.join(parts)}"


def choice_text(laws: "list[Law]") -> str:
    """Which form the points prefer, if any."""
    scored = sorted((law.aicc, law.form) for law in laws if law.aicc is not None)
    if len(scored) < 2:
        return ""
    least = scored[0][0]
    alike = [form for aicc, form in scored if aicc - least < ALIKE]
    if len(alike) == 1:
        return f"By AICc the points prefer the {alike[0]} form\n"
    return f"By AICc the points do not decide between {', '.join(alike)}: less than {ALIKE} apart\n"


def law_document(law: "Law") -> dict[str, Any]:
    """What `fit --json` prints of a law."""
    from foveate.laws.held_out import held_out, largest_held_out

    return {
        **{name: value for name, value in vars(law).items() if name != "points"},
        "tokens": law.tokens,
        "points": len(law.points.error),
        "rmse": law.rmse,
        "aicc": law.aicc,
        "interval": {name: asdict(found) for name, found in law.interval().items()},
        "largest_held_out": largest_held_out(law.points, law.form, law.text_tokens),
        "held_out": [asdict(at) for at in held_out(law.points, law.form, law.text_tokens)],
        "profile": {name: asdict(found) for name, found in law.profile().items()},
        "unidentified": law.unidentified(),
    }
