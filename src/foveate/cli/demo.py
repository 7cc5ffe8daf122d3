"""`foveate demo`: the built-in model, its questions, and a picture of the answers."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from foveate.cli.console import Json, check_out, on_stderr, print_json, print_table
from foveate.report import percent


def demo(
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("foveate-demo.png"),
    as_json: Json = False,
) -> None:
    """Ask the built-in model fixed questions, unreduced and under AIM at several settings."""
    from foveate.demo import demo as demonstration

    check_out("--out", out, ".png", ".jpg", ".webp")
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(*columns, console=on_stderr()) as progress:
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
            percent(report.totals.flops_share),
            percent(report.totals.kv_share),
            f"{row.first_token_ms:.0f}",
            row.answer,
            "yes" if row.right else f"no: {row.expected}",
        )
        last = asked
    return table
