"""One self-contained page of a summary, and its figures as PNG files beside it.

The page's text is in `templates/`; here its values are prepared. Values from records are escaped there,
because records may hold anything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foveate.errors import InputError
from foveate.measure.report import figures
from foveate.records.journal import UNREDUCED
from foveate.records.read import PARTS, WORDS
from foveate.records.split import RESIZING, Split
from foveate.records.summary import Refusal, Row, Summary
from foveate.records.verdict import Comparison

NUMBERS = {
    "share", "accuracy", "LLM FLOPs", "all FLOPs", "KV", "tokens", "first token ms", "speed-up", "n",
    "hard", "hard right", "easy", "easy right", *(part.removesuffix("_ms") + " ms" for part in PARTS),
}  # fmt: skip
KINDS = {"better than": "better", "worse than": "worse"}


@dataclass(frozen=True)
class Judgement:
    """A cell that compares a method with a baseline.

    Attributes:
        kind: better, worse or same: its colour.
        word: the same to be read.
        change: difference in points, and in cost.
    """

    kind: str
    word: str
    change: str


@dataclass(frozen=True)
class Verdict:
    """All methods against one baseline.

    Attributes:
        plain: the baseline's name in sentences.
        count: how many settings were compared with it.
        told: how many are better, worse, neither.
        rows: of the table, methods by shares.
    """

    plain: str
    count: int
    told: str
    rows: list[dict[str, str | Judgement]]


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
    out.write_text(page(summary, pictures), encoding="utf-8")
    return written


def page(summary: Summary, pictures: dict[str, str | None]) -> str:
    """The page as text.

    Args:
        summary: what it shows.
        pictures: `<svg>` of "flops", "time" and "hard", None where there is none.
    """
    by_cost = sorted(summary.overall, key=lambda row: row.llm_share)
    overall = {"Mean of the tasks": summary.overall} if len(summary.by_task) > 1 else {}
    return (
        _templates()
        .get_template("page.html")
        .render(
            model=summary.run["model"],
            tasks=", ".join(summary.by_task),
            settings=len(summary.overall) - 1,
            methods=len({row.method for row in summary.overall}) - 1,
            questions=_counts(summary),
            verdicts=_verdicts(summary),
            plain_names=", ".join(WORDS),
            pictures=pictures,
            front=[_cells(row) for row in by_cost if row.on_front],
            tables={
                name: [_cells(row) for row in rows]
                for name, rows in (overall | summary.by_task).items()
            },
            splits=[_split(split) for split in summary.splits if split.task == "all"],
            resizing=" or ".join(RESIZING),
            refused=_refused(summary.refused),
            conditions=_conditions(summary),
        )
    )


def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("foveate.measure.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"columns": _columns, "markup": Markup}
    found.tests["numeric"] = NUMBERS.__contains__
    return found


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table's columns, in the order of its rows' keys; "front" only shades a row."""
    return list(dict.fromkeys(name for row in rows for name in row if name != "front"))


def _counts(summary: Summary) -> str:
    counts = {rows[0].n for rows in summary.by_task.values()}
    if len(counts) == 1:
        return f"{counts.pop():,} questions a task"
    return ", ".join(f"{rows[0].n:,} of {task}" for task, rows in summary.by_task.items())


def _verdicts(summary: Summary) -> list[Verdict]:
    """For each baseline a table, methods by shares: how each method compares with it."""
    judged = [
        row
        for row in summary.overall
        if row.method != UNREDUCED and row.method not in summary.baselines
    ]
    found = []
    for name, plain in summary.baselines.items():
        pairs = [(row, other) for row in judged for other in row.against if other.baseline == name]
        counts = Counter(comparison.sentence for _, comparison in pairs)
        told = ", ".join(f"{count} {sentence}" for sentence, count in counts.most_common())
        lines: dict[str, dict[str, str | Judgement]] = {}
        for row, comparison in pairs:
            line = lines.setdefault(row.method, {"method": row.method})
            line[f"share {row.budget:g}"] = _judgement(comparison)
        if pairs:
            found.append(Verdict(plain, len(pairs), told, list(lines.values())))
    return found


def _judgement(found: Comparison) -> Judgement:
    kind = KINDS.get(found.relation, "same")
    change = _points(found.difference.mean, found.difference.low, found.difference.high)
    return Judgement(
        kind=kind,
        word="not distinguishable" if kind == "same" else kind,
        change=f"{change}, {found.flops_ratio:.2f}x FLOPs, n={found.n:,}",
    )


def _cells(row: Row) -> dict[str, str]:
    """A line of a table of settings."""
    parts = {} if row.parts_ms is None else row.parts_ms
    return {
        "method": row.method,
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


def _split(split: Split) -> dict[str, str]:
    """A line of the table of hard and easy questions."""
    return {
        "method": split.method,
        "share": f"{split.budget:g}",
        "by": split.by,
        "hard": str(split.hard),
        "hard right": _share(split.hard_accuracy),
        "easy": str(split.easy),
        "easy right": _share(split.easy_accuracy),
    }


def _refused(refusals: list[Refusal]) -> list[str]:
    """A line for each setting that was refused, on a whole task or for some questions."""
    lines = {f"{row.method} at {row.budget:g}: {row.why}" for row in refusals if row.index is None}
    some: dict[tuple[str, float, str], list[Refusal]] = {}
    for row in refusals:
        if row.index is not None:
            some.setdefault((row.method, row.budget, row.task), []).append(row)
    for (method, budget, task), rows in some.items():
        first = f"question {rows[0].index}: {rows[0].why}"
        lines.add(f"{method} at {budget:g}, {len(rows):,} of {task}'s questions; {first}")
    return sorted(lines)


def _conditions(summary: Summary) -> list[dict[str, str]]:
    run = summary.run
    tasks = "; ".join(
        " ".join(f"{name} {value}" for name, value in task.items()) for task in run["tasks"]
    )
    facts = [
        (
            "model",
            f"{run['model']} ({run['family']}, {run['layers']} layers, {run['dtype']})",
        ),
        ("weights", run["weights"]),
        *(("ran on", _where(conditions)) for conditions in summary.conditions),
        ("tasks", tasks),
        ("started", f"{summary.starts} time(s)"),
    ]
    return [{"what": name, "value": str(value)} for name, value in facts]


def _where(found: dict[str, Any]) -> str:
    """Conditions in words."""
    versions = ", ".join(
        f"{name} {found.get(name)}" for name in ("foveate", "torch", "transformers", "python")
    )
    machine = f"{found['gpu'] or found.get('cpu')}, {found['threads']} threads"
    return f"{machine}; {versions}; commit {found.get('commit')}"


def _points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
