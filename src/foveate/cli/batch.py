"""`foveate batch`: a question about pictures in every row of a table, answered."""

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from foveate.cli.console import (
    BudgetMachine,
    BudgetText,
    ClipFps,
    ClipFrames,
    Json,
    Keep,
    MethodName,
    Prune,
    Written,
    check_out,
    print_json,
    progress_bar,
    reduction_of,
)
from foveate.defaults import MAX_NEW_TOKENS, TASK


def batch(
    source: Annotated[
        Path, typer.Argument(help="A parquet file: question, and image, images or video.")
    ],
    out: Annotated[Path, typer.Argument(help="The same with answers, a parquet file.")],
    model: Annotated[
        str, typer.Option(help="foveate-mini, a folder, or a hub id.")
    ] = "foveate-mini",
    method: MethodName = None,
    keep: Keep = None,
    prune: Prune = None,
    written: Written = None,
    budget: BudgetText = None,
    task: Annotated[str, typer.Option(help="Of a budget: reasoning, ocr, or auto.")] = TASK,
    machine: BudgetMachine = None,
    frames: ClipFrames = None,
    fps: ClipFps = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = MAX_NEW_TOKENS,
    batch: Annotated[int, typer.Option(help="Rows asked at once.")] = 8,
    part: Annotated[
        int, typer.Option(help="Rows of a part, the least that a killed run does again.")
    ] = 100,
    prefix: Annotated[str, typer.Option(help="What the new columns' names begin with.")] = "",
    workers: Annotated[
        int | None, typer.Option(help="Models that answer; default one for each GPU, or one.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each; default 1.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default a GPU if any.")] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="0.5: two workers on one GPU.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output, and parts of another run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer the question in every row of a table, on Ray Data; goes on where a killed run was."""
    from foveate.serving.batch.work import Workers

    check_out("OUT", out, ".parquet")
    reduction = reduction_of(written, method, keep, prune)
    more: dict[str, Any] = {"frames": frames, "fps": fps, "task": task, "machine": machine}
    more |= {"batch": batch, "part": part, "max_new_tokens": max_new_tokens}
    on = Workers(workers, device, threads, gpus_per_worker)
    summary = _watched(
        source, out, model, reduction, budget,
        workers=on, prefix=prefix, overwrite=overwrite, **more,
    )  # fmt: skip
    sys.stderr.write(f"Wrote {out}: {summary}\n")
    if as_json:
        print_json({"out": str(out), **asdict(summary)})


def _watched(source: Path, out: Path, *given: Any, **knobs: Any) -> Any:
    """Answer, with a bar and the time left."""
    from foveate.serving.batch import answer_table

    with progress_bar() as bar, redirect_stdout(sys.stderr):  # where Ray tells of dead workers
        line = bar.add_task("starting", total=None)

        def progress(done: int, rows: int, errors: int) -> None:
            said = f"answering, {errors:,} errors" if errors else "answering"
            bar.update(line, total=rows, completed=done, description=said)

        return answer_table(source, out, *given, progress=progress, **knobs)
