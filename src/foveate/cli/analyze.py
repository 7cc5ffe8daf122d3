"""`foveate analyze`: which layers read visual tokens, and the schedule to start from."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from foveate.cli.console import Json, check_out, on_stderr, parse_names, print_json, print_table
from foveate.errors import InputError


def analyze(
    model: Annotated[str, typer.Argument(help="foveate-mini, a folder, or a hub id.")],
    data: Annotated[str, typer.Argument(help="Tasks or files, as --tasks of measure.")],
    samples: Annotated[int, typer.Option(help="Questions a task, at most.")] = 50,
    figure: Annotated[Path, typer.Option(help="Where the figure goes.")] = Path("analysis.png"),
    out: Annotated[
        Path | None, typer.Option(help="Where the numbers go, for foveate plan --analysis.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find which layers read visual tokens, how alike these are, and the schedule to start from."""
    from foveate.ask.vlm import load
    from foveate.measure.analyze.analysis import analyze as run
    from foveate.measure.analyze.figure import FORMATS, draw
    from foveate.measure.tasks import task
    from foveate.records.conditions import conditions

    if samples < 1:
        raise InputError(f"--samples must be at least 1, got {samples}")
    check_out("--figure", figure, *FORMATS)
    if out is not None:
        check_out("--out", out, ".json")
    tasks = [task(name) for name in parse_names(data)]
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(*columns, console=on_stderr()) as bars:
        bar = bars.add_task("analysing", total=None)
        vlm = load(model)
        result = run(
            vlm,
            tasks,
            samples,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    draw(result, figure)
    sys.stderr.write(f"Wrote {figure}\n")
    document = {"model": model, "conditions": conditions(), **result.to_dict()}
    if out is not None:
        out.write_text(json.dumps(document, indent=1) + "\n")
        sys.stderr.write(f"Wrote {out}; foveate plan {model} --budget 25% --analysis {out}\n")
    if as_json:
        print_json(document)
        return
    table = Table("", "value", "accuracy", "against unreduced, points")
    for row in result.tried:
        change = f"{100 * row.difference.low:+.1f} to {100 * row.difference.high:+.1f}"
        table.add_row(row.what, str(row.value), f"{row.accuracy:.1%}", change)
    print_table(table)
    places = {"The first token, a sink,": result.first_mass, "Visual tokens": result.visual_mass}
    for name, masses in places.items():
        most = max(range(result.layers), key=masses.__getitem__)
        sys.stdout.write(
            f"{name} got up to {masses[most]:.0%} of text's attention, in layer {most}.\n"
        )
    sys.stdout.write(f"foveate.AIM(keep={result.keep:g}, prune={result.prune})\n")
    questions = sum(result.questions.values())
    sys.stderr.write(
        f"With {questions} questions a drop below {result.unseen:.1%} may go undetected (95 %).\n"
    )
