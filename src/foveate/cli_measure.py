"""The commands that run models over questions and read the records; `foveate.cli` adds them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from foveate.errors import InputError
from foveate.shell import Json, check_out, print_json, print_table, renamed

SHARES = ".5,.25,.125,.0625"  # that are measured if none are named


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(measure)
    app.command()(report)
    app.command()(analyze)


def measure(
    model: Annotated[str, typer.Argument(help="foveate-mini, a folder, or a hub id.")],
    methods: Annotated[
        str, typer.Option(help="Names of `foveate methods` with commas between, resize, or all.")
    ] = "all",
    shares: Annotated[
        str | None,
        typer.Option(help=f"Of visual tokens, mean over the LLM's layers; default {SHARES}."),
    ] = None,
    budgets: Annotated[str | None, typer.Option(hidden=True)] = None,  # its name before
    tasks: Annotated[
        str, typer.Option(help="reasoning, ocr, video, or .jsonl files in LLaVA's format.")
    ] = "reasoning,ocr,video",
    out: Annotated[Path, typer.Option(help="The records, one a line.")] = Path(
        "runs/measure.jsonl"
    ),
    samples: Annotated[int, typer.Option(help="Questions a task, at most.")] = 300,
    batch: Annotated[int, typer.Option(help="Questions answered at once.")] = 8,
    timed: Annotated[int, typer.Option(help="Questions that are timed, one by one.")] = 3,
    rounds: Annotated[int, typer.Option(help="Timed rounds after a warm-up; 0 for none.")] = 5,
    frames: Annotated[int | None, typer.Option(help="Most frames taken from a clip file.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames taken a second of it.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default a GPU if any.")] = None,
    engine: Annotated[str, typer.Option(help="local: here; ray: on several actors.")] = "local",
    actors: Annotated[
        int | None, typer.Option(help="With ray, how many; default one for each GPU.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a model every question under every method and share; goes on where a killed run was."""
    from foveate.ask.media import Sampling
    from foveate.measure.run.engines import engine as engine_named
    from foveate.measure.run.runner import Amount, Runner
    from foveate.measure.run.settings import settings
    from foveate.measure.tasks import task

    amount = Amount(samples, batch, timed, rounds, Sampling(frames, fps))
    asked = [task(name) for name in _names(tasks)]
    meant = _shares(renamed("--shares", shares, "--budgets", budgets) or SHARES)
    with engine_named(engine).start(model, device, threads, actors) as answering:
        chosen = settings(_names(methods), meant, answering.identity()["layers"])
        runner = Runner(answering, chosen, asked, out, amount)
        _watch(runner)
    sys.stderr.write(f"Wrote {out}; foveate report {out} reads it.\n")
    if as_json:
        print_json({"records": str(out), "cells": runner.log.cells()})


def _watch(runner: Any) -> None:
    """Run, under a bar that tells how much is done and how long the rest takes."""
    columns = (
        *Progress.get_default_columns()[:3],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=300) as progress:
        bar = progress.add_task("starting", total=runner.total)
        runner.run(lambda done, what: progress.update(bar, completed=done, description=what))


def report(
    records: Annotated[Path, typer.Argument(help="What `foveate measure` wrote.")],
    out: Annotated[Path, typer.Option(help="The page; pictures go beside it.")] = Path(
        "report.html"
    ),
    as_json: Json = False,
) -> None:
    """Turn records into one page: accuracy over cost with intervals, the front, and a verdict."""
    from foveate.measure.report.page import write
    from foveate.measure.report.summary import summarise

    check_out("--out", out, ".html")
    found = summarise(records)
    for path in write(found, out):
        sys.stderr.write(f"Wrote {path}\n")
    if as_json:
        print_json(found.to_dict())
        return
    table = Table("method", "share", "n", "accuracy", "against unreduced", "LLM FLOPs", "verdict")
    for row in found.overall:
        table.add_row(*row.cells())
    print_table(table)


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
    asked = [task(name) for name in _names(data)]
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("analysing", total=None)
        vlm = load(model)
        found = run(
            vlm,
            asked,
            samples,
            seen=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    draw(found, figure)
    sys.stderr.write(f"Wrote {figure}\n")
    document = {"model": model, "conditions": conditions(), **found.to_dict()}
    if out is not None:
        out.write_text(json.dumps(document, indent=1) + "\n")
        sys.stderr.write(f"Wrote {out}; foveate plan {model} --budget 25% --analysis {out}\n")
    if as_json:
        print_json(document)
        return
    table = Table("", "value", "accuracy", "against unreduced, points")
    for row in found.tried:
        change = f"{100 * row.difference.low:+.1f} to {100 * row.difference.high:+.1f}"
        table.add_row(row.what, str(row.value), f"{row.accuracy:.1%}", change)
    print_table(table)
    sys.stdout.write(f"foveate.AIM(keep={found.keep:g}, prune={found.prune})\n")
    asked = sum(found.questions.values())
    sys.stderr.write(
        f"One time in twenty, {asked} questions show nothing of a cost of {found.unseen:.1%}.\n"
    )


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise InputError(f"a list of names with commas between is needed, got {text!r}")
    return names


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in _names(text)]
    except ValueError:
        raise InputError(
            f"--shares takes shares with commas between (.5,.25), got {text!r}"
        ) from None
