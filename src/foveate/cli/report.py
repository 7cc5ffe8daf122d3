"""`foveate report`: the records of a run as one page."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from foveate.cli.console import Json, check_out, print_json, print_table


def report(
    records: Annotated[
        Path, typer.Argument(help="What `foveate measure` wrote, or this command with --json.")
    ],
    out: Annotated[Path, typer.Option(help="The page; pictures go beside it.")] = Path(
        "report.html"
    ),
    as_json: Json = False,
) -> None:
    """Turn records into one page: accuracy over cost with intervals, the front, and a verdict."""
    from foveate.measure.report.page import write
    from foveate.records.summary import summarise

    check_out("--out", out, ".html")
    found = summarise(records)
    for path in write(found, out):
        sys.stderr.write(f"Wrote {path}\n")
    if as_json:
        print_json(found.to_dict())
        return
    columns = ("method", "share", "n", "accuracy", "against unreduced", "LLM FLOPs", "all FLOPs")
    table = Table(*columns, "first token", "verdict")
    for row in found.overall:
        table.add_row(*row.cells())
    print_table(table)
