"""One self-contained page of a summary, and its figures as PNG files beside it."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from foveate.errors import InputError
from foveate.measure.report import figures
from foveate.records.journal import UNREDUCED
from foveate.records.read import PARTS, WORDS
from foveate.records.split import RESIZING
from foveate.records.summary import Refusal, Row, Summary
from foveate.records.verdict import Comparison

STYLE = """
:root { --ink: #1c2024; --soft: #5b6470; --line: #e3e6ea; --tint: #f6f7f9; --good: #00664a;
        --bad: #a63a00; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 62rem; color: var(--ink);
       font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; background: #fff; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; }
p { margin: .5rem 0; max-width: 44rem; }
.soft, figcaption, small { color: var(--soft); }
ul { padding-left: 1.2rem; max-width: 44rem; }
figure { margin: 1.2rem 0; }
figure svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
        width: 100%; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--ink);
     padding: .3rem .7rem .3rem 0; white-space: nowrap; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: .28rem .7rem .28rem 0; white-space: nowrap; }
td.number, th.number { text-align: right; }
tr.front td { background: var(--tint); font-weight: 600; }
.better { color: var(--good); } .worse { color: var(--bad); } .same { color: var(--soft); }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
"""
NUMBERS = {
    "share", "accuracy", "LLM FLOPs", "all FLOPs", "KV", "tokens", "first token ms", "speed-up", "n",
    "hard", "hard right", "easy", "easy right", *(part.removesuffix("_ms") + " ms" for part in PARTS),
}  # fmt: skip


def write(summary: Summary, out: Path) -> list[Path]:
    """Write the page and its figures; returns what was written.

    Raises:
        InputError: not an .html file in an existing folder.
        MissingExtraError: matplotlib is absent.
    """
    if out.suffix != ".html" or not out.resolve().parent.is_dir():
        raise InputError(f"--out must be an .html file in an existing folder, got {out}")
    drawn = {
        "flops": figures.over_flops(summary),
        "time": figures.over_time(summary),
        "hard": figures.on_hard(summary),
    }
    written = [out]
    pictures: dict[str, str | None] = dict.fromkeys(drawn)
    for name, figure in drawn.items():
        if figure is not None:
            pictures[name] = figures.svg(figure)
            written.append(out.with_name(f"{out.stem}-{name}.png"))
            written[-1].write_bytes(figures.png(figure))
    out.write_text(page(summary, pictures))
    return written


def page(summary: Summary, pictures: dict[str, str | None]) -> str:
    """The page as text.

    Args:
        summary: what it shows.
        pictures: `<svg>` of "flops", "time" and "hard", None where there is none.
    """
    start = summary.records.starts[-1]
    model, tasks = escape(str(start["model"])), ", ".join(summary.by_task)
    body = [
        f"<h1>Fewer visual tokens for {model}</h1>",
        f'<p class="soft">{len(summary.overall) - 1} settings of '
        f"{len({row.method for row in summary.overall}) - 1} methods on {escape(tasks)}; "
        f"{_counts(summary)}.</p>",
        "<h2>Verdict</h2>",
        _verdicts(summary),
        "<h2>Accuracy over LLM FLOPs</h2>",
        _figure(
            pictures["flops"],
            "Bars are 95 % bootstrap intervals of the paired difference to the unreduced model (dotted). "
            "Merging and scoring are charged. Plain baselines are grey.",
        ),
        *_time(pictures["time"]),
        "<h2>Pareto front</h2>",
        "<p>No other setting is at least as accurate, on the mean of the tasks, for as few or fewer LLM "
        "FLOPs.</p>",
        _table(
            [
                _cells(row)
                for row in sorted(summary.overall, key=lambda row: row.llm_share)
                if row.on_front
            ],
            front=False,
        ),
        "<h2>All settings</h2>",
        *_tables(summary),
        *_split(summary, pictures["hard"]),
        *_refused(summary),
        "<h2>How it was measured</h2>",
        _conditions(summary),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>foveate report: {model}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _counts(summary: Summary) -> str:
    counts = {rows[0].n for rows in summary.by_task.values()}
    if len(counts) == 1:
        return f"{counts.pop():,} questions a task"
    return ", ".join(f"{rows[0].n:,} of {escape(task)}" for task, rows in summary.by_task.items())


def _verdicts(summary: Summary) -> str:
    """For each plain baseline a table, methods by shares: what a method is worth beside it."""
    plain_things = summary.records.baselines
    judged = [
        row for row in summary.overall if row.method != UNREDUCED and row.method not in plain_things
    ]
    if not any(row.against for row in judged):
        return (
            f"<p>No plain baseline ({', '.join(WORDS)}) was measured beside a method, so nothing can be "
            "said about whether a method is worth its trouble.</p>"
        )
    parts = [
        "<p>Each method beside the plain things at the same share, on the same questions, over the mean "
        "of the tasks, in points. A difference whose 95 % interval holds 0 is none that this run can "
        "tell. Each comparison stands for itself: of many, about one in twenty errs.</p>"
    ]
    for name, plain in plain_things.items():
        found = [
            (row, comparison)
            for row in judged
            for comparison in row.against
            if comparison.baseline == name
        ]
        if found:
            counts = Counter(comparison.sentence for _, comparison in found)
            told = ", ".join(f"{count} {sentence}" for sentence, count in counts.most_common())
            lines: dict[str, dict[str, str]] = {}
            for row, comparison in found:
                line = lines.setdefault(row.method, {"method": escape(row.method)})
                line[f"share {row.budget:g}"] = _judgement(comparison)
            mark = "" if len(parts) > 1 else " open"
            parts.append(
                f"<details{mark}><summary>Against {plain}: of {len(found)} settings, {told}</summary>"
                f"{_table(list(lines.values()))}</details>"
            )
    return "\n".join(parts)


def _judgement(found: Comparison) -> str:
    kind = {"better than": "better", "worse than": "worse"}.get(found.relation, "same")
    word = {"same": "not distinguishable"}.get(kind, kind)
    change = _points(found.difference.mean, found.difference.low, found.difference.high)
    small = f"<small>{change}, {found.flops_ratio:.2f}x FLOPs, n={found.n:,}</small>"
    return f'<span class="{kind}">{word}</span><br>{small}'


def _cells(row: Row) -> dict[str, str]:
    """A line of a table of settings."""
    parts = {} if row.parts_ms is None else row.parts_ms
    return {
        "method": escape(row.method),
        "share": f"{row.budget:g}",
        "n": f"{row.n:,}",
        "accuracy": f"{row.accuracy:.1%}",
        "to unreduced, points": _points(
            row.difference.mean, row.difference.low, row.difference.high
        ),
        "LLM FLOPs": f"{row.llm_share:.1%}",
        "all FLOPs": _share(row.flops_share),
        "KV": f"{row.kv_share:.1%}",
        "tokens": f"{row.visual_tokens:.1f}",
        "first token ms": "-" if row.first_token_ms is None else f"{row.first_token_ms:.1f}",
        "speed-up": "-" if row.speedup is None else f"{row.speedup:.2f}x",
        **{f"{part.removesuffix('_ms')} ms": f"{ms:.1f}" for part, ms in parts.items()},
        "front": "front" if row.on_front else "",
    }


def _tables(summary: Summary) -> list[str]:
    lines = [
        "<p>Shares are of the unreduced model. <i>All FLOPs</i> run from pixels to the last token. "
        "Shaded rows are on the front. Prefill includes scoring.</p>"
    ]
    lists = {"Mean of the tasks": summary.overall} if len(summary.by_task) > 1 else {}
    for number, (name, rows) in enumerate((lists | summary.by_task).items()):
        open_ = " open" if number == 0 else ""
        lines.append(
            f"<details{open_}><summary>{escape(name)}</summary>"
            f"{_table([_cells(row) for row in rows])}</details>"
        )
    return lines


def _split(summary: Summary, picture: str | None) -> list[str]:
    head = "<h2>Questions that resizing already gets right, and those it does not</h2>"
    if not summary.splits:
        return [head, f"<p>Unknown: no resizing ({' or '.join(RESIZING)}) was measured.</p>"]
    rows = [
        {
            "method": escape(split.method),
            "share": f"{split.budget:g}",
            "by": split.by,
            "hard": str(split.hard),
            "hard right": _share(split.hard_accuracy),
            "easy": str(split.easy),
            "easy right": _share(split.easy_accuracy),
        }
        for split in summary.splits
        if split.task == "all"
    ]
    return [
        head,
        "<p>VTC-Bench's protocol (arXiv 2510.07143). Of the questions that the unreduced model answers "
        "right, <i>easy</i> ones are also right when resized to the share; on <i>hard</i> ones resizing "
        "scores 0 % and the unreduced model 100 %. <i>resize</i> makes the picture itself smaller, as "
        "published; where that was not to be had, <i>resize-grid</i> resamples its features behind "
        "the encoder, which has seen the whole picture.</p>",
        "" if picture is None else _figure(picture, "All tasks together."),
        _table(rows),
    ]


def _time(picture: str | None) -> list[str]:
    if picture is None:
        return ["<h2>Accuracy over time</h2>", "<p>No stopwatch ran (--rounds 0).</p>"]
    return [
        "<h2>Accuracy over measured time</h2>",
        _figure(
            picture,
            "Time from pixels to the first token, one question at a time, as a share of the unreduced "
            "model's in the same round: median over rounds, after a warm-up. Settings that were measured "
            "later had rounds of their own, in which the unreduced model took its turn again; their "
            "milliseconds are of another day.",
        ),
    ]


def _refused(summary: Summary) -> list[str]:
    if not summary.refused:
        return []
    lines = {
        f"<li>{escape(row.method)} at {row.budget:g}: {escape(row.why)}</li>"
        for row in summary.refused
        if row.index is None
    }
    some: dict[tuple[str, float, str], list[Refusal]] = {}
    for row in summary.refused:
        if row.index is not None:
            some.setdefault((row.method, row.budget, row.task), []).append(row)
    for (method, budget, task), rows in some.items():
        first = f"question {rows[0].index}: {rows[0].why}"
        lines.add(
            f"<li>{escape(method)} at {budget:g}, {len(rows):,} of {escape(task)}'s questions; "
            f"{escape(first)}</li>"
        )
    return ["<h2>What could not be had</h2>", "<ul>", *sorted(lines), "</ul>"]


def _conditions(summary: Summary) -> str:
    records, start = summary.records, summary.records.starts[-1]
    tasks = "; ".join(
        " ".join(f"{name} {value}" for name, value in task.items()) for task in records.questions
    )
    facts = [
        (
            "model",
            f"{start['model']} ({start['family']}, {start['layers']} layers, {start['dtype']})",
        ),
        ("weights", start["weights"]),
        *(("ran on", _where(conditions)) for conditions in records.conditions),
        ("tasks", tasks),
        ("started", f"{len(records.starts)} time(s)"),
    ]
    return _table([{"what": name, "value": escape(str(value))} for name, value in facts])


def _where(found: dict[str, Any]) -> str:
    """Conditions in words."""
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("foveate", "torch", "transformers", "python")
    )
    machine = f"{found['gpu'] or found['cpu']}, {found['threads']} threads"
    return f"{machine}; {versions}; commit {found['commit']}"


def _figure(picture: str | None, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _table(rows: Sequence[dict[str, Any]], *, front: bool = True) -> str:
    header = list(dict.fromkeys(name for row in rows for name in row if name != "front"))

    def line(tag: str, cells: dict[str, Any]) -> str:
        return "".join(
            f'<{tag} class="number">{cells.get(name, "-")}</{tag}>'
            if name in NUMBERS
            else f"<{tag}>{cells.get(name, '-')}</{tag}>"
            for name in header
        )

    lines = [f"<tr>{line('th', {name: name for name in header})}</tr>"]
    for row in rows:
        mark = ' class="front"' if front and row.get("front") else ""
        lines.append(f"<tr{mark}>{line('td', row)}</tr>")
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
