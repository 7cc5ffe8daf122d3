"""The command line: parse, call one public function, print. Data on stdout, everything else on stderr."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from foveate.cli_cost import register as add_cost_commands
from foveate.cli_measure import register as add_measure_commands
from foveate.cli_plan import plan
from foveate.cli_train import train
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import FoveateError, InputError
from foveate.shell import (
    Json,
    OldMachine,
    check_out,
    method_knobs,
    print_json,
    print_table,
    renamed,
)

app = typer.Typer(
    help="Fewer visual tokens for vision-language models: really removed, measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
add_cost_commands(app)
app.command()(plan)
add_measure_commands(app)
app.command()(train)


def main() -> None:
    """Entry point: our own errors become one line on stderr and exit status 2."""
    # our own progress bars are enough
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except FoveateError as error:
        sys.stderr.write(f"foveate: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("foveate-demo.png"),
    as_json: Json = False,
) -> None:
    """Ask the built-in model fixed questions, unreduced and under AIM at several settings."""
    from foveate.demo import demo as demonstration

    check_out("--out", out, ".png", ".jpg", ".webp")
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("asking foveate-mini", total=None)
        rows = demonstration.run(
            lambda done, total: progress.update(task, completed=done, total=total)
        )
    demonstration.picture(rows).save(out)
    if as_json:
        cells = [{**vars(row), "right": row.right, "report": row.report.to_dict()} for row in rows]
        print_json({"picture": str(out), "rows": cells})
        return
    print_table(_demo_table(rows))
    sys.stderr.write(
        f"Wrote {out}. ms: to the first token, {demonstration.TIMED}. foveate-mini is tiny: they are "
        "mostly Python; benchmarks/speed.py times a real size.\n"
    )


@app.command()
def ask(
    media: Annotated[list[str], typer.Argument(help="Picture(s) or clip, then the question.")],
    model: Annotated[
        str, typer.Option(help="foveate-mini, a folder, or a hub id.")
    ] = "foveate-mini",
    method: Annotated[
        str | None, typer.Option(help="A name of `foveate methods`; --keep or --prune alone: aim.")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(help="Share of visual tokens kept, (0, 1]; aim: 1 merges none.")
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="START,STOP as layers or shares of depth, or none.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help='Instead: "25%", "15 TFLOP", "120 MB", "60 ms".')
    ] = None,
    task: Annotated[
        str, typer.Option(help="Of a budget: reasoning, ocr, or auto: the pictures are looked at.")
    ] = TASK,
    machine: Annotated[
        str | None, typer.Option(help="Of a budget in time: a calibration.json, or a name.")
    ] = None,
    hardware: OldMachine = None,
    frames: Annotated[
        int | None, typer.Option(help="Most frames taken from a clip; 8 without --fps.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames taken a second of a clip.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = MAX_NEW_TOKENS,
    as_json: Json = False,
) -> None:
    """Answer a question about pictures or a clip; with no --method, --keep, --prune, --budget unreduced.

    What is not given is as the method has it in Python: --keep .25 is AIM(keep=.25), which prunes.
    """
    from foveate.ask.vlm import load
    from foveate.reduction import create

    if len(media) < 2:
        raise InputError(f"ask takes at least one picture and a question, got {media}")
    told = method_knobs(keep, prune)
    reduction = create(method or "aim", **told) if told or method else None
    knobs: dict[str, Any] = {"frames": frames, "fps": fps, "task": task}
    knobs["machine"] = renamed("--machine", machine, "--hardware", hardware)
    answer = load(model).ask(media[:-1], media[-1], reduction, budget, max_new_tokens, **knobs)
    if as_json:
        print_json({"text": answer.text, "report": answer.report.to_dict()})
        return
    sys.stdout.write(answer.text + "\n")
    report = answer.report
    share = report.prefill_flops / report.prefill_flops_unreduced
    sys.stderr.write(
        f"{report.visual_tokens_in[0]} visual tokens, {report.visual_tokens_to_llm[0]} to the LLM, "
        f"{share:.0%} of the prefill FLOPs, "
        f"{report.kv_bytes / report.kv_bytes_unreduced:.0%} of the KV cache\n"
    )


@app.command()
def methods(as_json: Json = False) -> None:
    """List the reduction methods, and the model families that they work on."""
    from foveate.models.family import support
    from foveate.registry import methods as known

    rows = [
        {
            "name": m.name,
            "stage": m.stage,
            "needs": ", ".join(getattr(m.build(), "needs", ())),
            "paper": m.paper,
            "summary": m.summary,
        }
        for m in known().values()
    ]
    families = [vars(row) for row in support()]
    if as_json:
        print_json({"methods": rows, "families": families})
        return
    for listed in (rows, families):
        table = Table(*(name.replace("_", " ") for name in listed[0]))
        for row in listed:
            table.add_row(*row.values())
        print_table(table)


def _demo_table(rows: list[Any]) -> Table:
    table = Table(
        "question", "setting", "to LLM", "by layer", "FLOPs", "KV", "ms", "answer", "right"
    )
    last = None
    for row in rows:
        report, asked = row.report, (row.file, row.question)
        if asked != last and last is not None:
            table.add_section()
        table.add_row(
            "" if asked == last else f"{row.question} [dim]({row.file})[/dim]",
            row.budget,
            str(report.visual_tokens_to_llm[0]),
            " ".join(map(str, report.visual_tokens_by_layer[0])),
            f"{report.prefill_flops / report.prefill_flops_unreduced:.0%}",
            f"{report.kv_bytes / report.kv_bytes_unreduced:.0%}",
            f"{row.first_token_ms:.0f}",
            row.answer,
            "yes" if row.right else f"no: {row.expected}",
        )
        last = asked
    return table
