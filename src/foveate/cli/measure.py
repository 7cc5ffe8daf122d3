"""`foveate measure`: ask a model questions under many methods, and record the answers."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from foveate.cli.console import Json, parse_names, print_json, progress_bar, renamed
from foveate.defaults import SHARES, TASKS
from foveate.errors import InputError


def measure(
    model: Annotated[str, typer.Argument(help="foveate-mini, a folder, or a hub id.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Names of `foveate methods` with commas between, resize, or all; tome-encoder+aim, "
            "tome-encoder:0.35+aim: in the encoder, too."
        ),
    ] = "all",
    shares: Annotated[
        str | None,
        typer.Option(
            help=f"Of visual tokens, mean over the LLM's layers; default {','.join(map(str, SHARES))}."
        ),
    ] = None,
    budgets: Annotated[str | None, typer.Option(hidden=True)] = None,  # the old name of --shares
    tasks: Annotated[
        str,
        typer.Option(help="reasoning, ocr, video, charts ... or .jsonl files in LLaVA's format."),
    ] = ",".join(TASKS),
    out: Annotated[Path, typer.Option(help="The records, one a line.")] = Path(
        "runs/measure.jsonl"
    ),
    samples: Annotated[int, typer.Option(help="Questions a task, at most.")] = 300,
    first: Annotated[int, typer.Option(help="Number of the first question.")] = 0,
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
    from foveate.measure.run.measure import measure as run
    from foveate.measure.run.runner import Amount

    amount = Amount(samples, batch, timed, rounds, Sampling(frames, fps), first)
    given = renamed("--shares", shares, "--budgets", budgets)
    cells: list[dict[str, Any]] = []

    def watched(runner: Any) -> None:
        _watch(runner)
        cells.extend(runner.log.cells())

    run(
        model, out, parse_names(methods), _shares(given) if given else SHARES, parse_names(tasks), amount,
        engine=engine, device=device, threads=threads, actors=actors, run=watched,
    )  # fmt: skip
    sys.stderr.write(
        f"Wrote {out}; foveate report {out} reads it, foveate plan {model} --budget 25% --measured {out} "
        "chooses by it.\n"
    )
    if as_json:
        print_json({"records": str(out), "cells": cells})


def _watch(runner: Any) -> None:
    """Run, with a progress bar and the time left."""
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=runner.total)
        runner.run(lambda done, what: progress.update(bar, completed=done, description=what))


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in parse_names(text)]
    except ValueError:
        raise InputError(
            f"--shares takes shares with commas between (.5,.25), got {text!r}"
        ) from None
