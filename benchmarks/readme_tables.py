"""The README's tables, written from the records in results/, the families and the methods.

    python benchmarks/readme_tables.py          # rewrite them in README.md

A table stands between `<!-- NAME -->` and `<!-- end NAME -->`; a test fails when the two disagree.
"""

import json
import re
from pathlib import Path
from typing import Any

from foveate.models.family import support
from foveate.registry import methods as known_methods

ROOT = Path(__file__).parent.parent


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed() -> str:
    """LLM prefill at 0.5B shapes."""
    record = json.loads((ROOT / "results" / "speed.json").read_text())
    rows = [
        [
            str(row["frames"]),
            row["method"],
            str(row["runs"]),
            f"{row['visual_tokens_by_layer'][0]:,}",
            f"{row['analytic_speedup']:.2f}x",
            f"{row['analytic_causal_speedup']:.2f}x",
            f"**{row['measured_speedup']:.2f}x**",
            f"{row['score_share']:.1%}",
            f"{row['kv_share']:.0%}",
            "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:.2f} GiB",
        ]
        for row in record["rows"]
    ]
    where = record["conditions"]
    line = (
        f"{where['gpu'] or where['cpu']}, {where['threads']} threads, torch {where['torch']}, "
        f"transformers {where['transformers']}, commit {where['commit']}; medians after a warm-up."
    )
    header = [
        "frames",
        "method",
        "runs",
        "tokens to the LLM",
        "all FLOPs",
        "causal FLOPs",
        "measured",
        "scoring",
        "KV",
        "peak memory",
    ]
    return markdown(header, rows) + "\n\n" + line


def accuracy() -> str:
    """Exact match of foveate-mini over keep, with and without pruning."""
    record = json.loads((ROOT / "results" / "accuracy.json").read_text())
    by_setting: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        by_setting.setdefault(row["setting"], {})[row["task"]] = row
    rows = []
    for setting, tasks in by_setting.items():
        share = sum(row["flops_share"] for row in tasks.values()) / len(tasks)
        cells = [
            f"{row['accuracy']:.1%} ({100 * row['difference']['low']:+.1f} to "
            f"{100 * row['difference']['high']:+.1f})"
            for row in tasks.values()
        ]
        rows.append([setting, f"{share:.0%}", *cells])
    header = ["AIM", "LLM FLOPs", *next(iter(by_setting.values()))]
    return (
        markdown(header, rows)
        + f"\n\n{record['n']} held-out questions a task; in brackets the 95 % interval of the paired "
        "difference to unreduced, in points."
    )


def zoo() -> str:
    """Every method on foveate-mini, the best on average first; "-" where a budget is out of its reach."""
    record = json.loads((ROOT / "results" / "zoo.json").read_text())
    cells = {(row["method"], row["budget"], row["task"]): row for row in record["rows"]}
    names = dict.fromkeys(row["method"] for row in record["rows"] if row["method"] != "unreduced")
    budgets = sorted({row["budget"] for row in record["rows"]} - {1.0}, reverse=True)
    tasks = [task["name"] for task in record["run"]["tasks"]]

    def right(name: str, budget: float, task: str) -> float:
        return cells.get((name, budget, task), {"accuracy": 0.0})["accuracy"]

    def line(name: str, budget: float) -> str:
        if (name, budget, "mean") not in cells:
            return "-"
        return " / ".join(f"{100 * right(name, budget, task):.0f}" for task in tasks)

    ranked = sorted(names, key=lambda name: -sum(right(name, b, "mean") for b in budgets))
    rows = [["unreduced", *[line("unreduced", 1.0)] * len(budgets)]]
    rows += [[f"`{name}`", *(line(name, budget) for budget in budgets)] for name in ranked]
    count = min(row["n"] for row in record["rows"] if row["task"] in tasks)
    return (
        markdown(["method", *(f"{budget:.4g} of the tokens" for budget in budgets)], rows)
        + f"\n\nRight answers in percent, {' / '.join(tasks)}, {count} held-out questions a task."
    )


def long_video() -> str:
    """Few whole frames, or many reduced ones."""
    record = json.loads((ROOT / "results" / "long_video.json").read_text())
    rows = [
        [
            row["row"],
            f"{row['visual_tokens_to_llm']:.0f}",
            f"{row['llm_ratio']:.2f}x",
            f"{row['flops_ratio']:.2f}x",
            f"{row['accuracy']:.1%} ({100 * row['difference']['low']:+.1f} to "
            f"{100 * row['difference']['high']:+.1f})",
            f"{row['families']['needle']['accuracy']:.1%}",
        ]
        for row in record["rows"]
    ]
    header = ["shown", "tokens to the LLM", "LLM FLOPs", "all FLOPs", "accuracy", "needles"]
    aim = record["aim"]
    return (
        markdown(header, rows)
        + f"\n\n{record['n']} held-out questions about clips of 16 frames; in brackets the 95 % "
        "interval of the paired difference to the first row, in points. AIM here is "
        f"keep={aim['keep']:.3g}, prune={'off' if aim['prune'] is None else tuple(aim['prune'])}."
    )


def families() -> str:
    """What works on which family."""
    rows = [
        [row.family, f"`{row.model}`", row.takes, row.merge_at, row.positions] for row in support()
    ]
    return markdown(["family", "transformers class", "takes", "merge at", "positions"], rows)


def methods() -> str:
    """Every registered method."""
    rows = []
    for method in known_methods().values():
        paper = f"arXiv {method.paper}" if method.paper[0].isdigit() else method.paper
        rows.append([f"`{method.name}`", method.stage, method.summary, paper])
    return markdown(["name", "works", "what it does", "source"], rows)


TABLES = {
    "speed": speed,
    "accuracy": accuracy,
    "zoo": zoo,
    "long_video": long_video,
    "families": families,
    "methods": methods,
}


def filled(text: str) -> str:
    """The README with every table written anew."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        text = re.sub(
            pattern, lambda m, table=table: m[1] + table() + "\n" + m[2], text, flags=re.S
        )
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
