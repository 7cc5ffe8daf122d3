"""The tables of every method side by side, on foveate-mini and on foveate-smol."""

import json
from typing import Any

from tables import ROOT, markdown, points

OURS = ("fovea", "fovea-merge")
UNREDUCED = "unreduced"
READ = ("reasoning", "video", "texture")  # what foveate-smol answers well enough to lose something
SHARED = ("reasoning", "video")  # the part of it that foveate-mini is asked, too

Cells = dict[tuple[str, float, str], dict[str, Any]]


def zoo() -> str:
    """Every method on foveate-mini, the best on average first; "-" where a share is out of its reach."""
    record = _record("zoo")
    tasks = tuple(task["name"] for task in record["run"]["tasks"])
    return _side_by_side(record, tasks)


def smol() -> str:
    """Likewise on foveate-smol, in the tasks that it can do."""
    return _side_by_side(_record("smol"), READ)


def smol_tasks() -> str:
    """What foveate-smol can do, unreduced."""
    record = _record("smol")
    cells = _cells(record)
    tasks = [task["name"] for task in record["run"]["tasks"]]
    right = [f"{100 * cells[UNREDUCED, 1.0, task]['accuracy']:.0f}" for task in tasks]
    return (
        markdown(["foveate-smol, unreduced", *tasks], [["right answers, %", *right]])
        + f"\n\n{_questions(record, tasks)} held-out questions a task."
    )


def smol_places() -> str:
    """The place of each method on either model, for what both are asked."""
    here, there = mean_right("smol"), mean_right("zoo")
    rows = []
    for name in sorted(here.keys() & there.keys(), key=lambda name: (-here[name], name)):
        moved = _place(name, there, here) - _place(name, here, there)
        rows.append([f"`{name}`", f"{here[name]:.1f}%", f"{there[name]:.1f}%", f"{moved:+d}"])
    return (
        markdown(["method", "foveate-smol", "foveate-mini", "places up or down"], rows)
        + f"\n\nRight answers in {' and '.join(SHARED)}, mean over the four shares; methods that reach "
        "all four on both models."
    )


def smol_layers() -> str:
    """Where attention falls in foveate-smol, and what its visual tokens are worth, every third layer."""
    found = _record("smol_analysis")
    dropped = {row["value"]: row for row in found["tried"] if row["what"] == "drop after"}
    rows = []
    for layer in sorted(dropped)[::3]:
        masses = [found[f"{name}_mass"][layer] for name in ("first", "visual", "peak")]
        left = dropped[layer]
        told = f"{left['accuracy']:.0%} ({points(left['difference'])})"
        rows.append([str(layer), *(f"{100 * mass:.0f}" for mass in masses), told])
    header = ["layer", "on the first token, %", "on visual tokens, %", "of these on one, %"]
    asked = sum(found["questions"].values())
    return (
        markdown([*header, "right when all are dropped after it"], rows)
        + f"\n\nAttention of text behind the picture, mean over heads and {asked} questions "
        f"({', '.join(found['questions'])}); unreduced {found['accuracy']:.0%} are right; in brackets "
        "the difference in points with its 95 % interval."
    )


def mean_right(name: str) -> dict[str, float]:
    """Right answers in `SHARED`, in percent, of each method that reaches every share.

    Args:
        name: of the record, "smol" or "zoo".
    """
    record = _record(name)
    cells, found = _cells(record), {}
    asked = [(budget, task) for budget in _budgets(record) for task in SHARED]
    for method in {row["method"] for row in record["rows"]}:
        if all((method, *each) in cells for each in asked):
            right = [cells[method, *each]["accuracy"] for each in asked]
            found[method] = 100 * sum(right) / len(right)
    return found


def front() -> str:
    """Our methods beside the best of the others that costs the LLM no more."""
    record = _record("zoo")
    means = [row for row in record["rows"] if row["task"] == "mean" and row["budget"] < 1]

    def told(row: dict[str, Any], name: str = "") -> str:
        front = ", on the front" if row["on_front"] else ""
        return f"{name}{row['accuracy']:.1%} for {row['llm_share']:.1%}{front}"

    rows = []
    for budget in sorted({row["budget"] for row in means}, reverse=True):
        ours = [
            row
            for name in OURS
            for row in means
            if (row["method"], row["budget"]) == (name, budget)
        ]
        room = max(row["llm_share"] for row in ours)
        others = [row for row in means if row["method"] not in OURS and row["llm_share"] <= room]
        best = max(others, key=lambda row: (row["accuracy"], -row["llm_share"]))
        rival = f"`{best['method']}` at {best['budget']:.4g}: "
        rows.append([f"{budget:.4g}", *map(told, ours), told(best, rival)])
    header = [
        "share of the tokens",
        *(f"`{name}`" for name in OURS),
        "best of the others for no more",
    ]
    count = min(row["n"] for row in means)
    return (
        markdown(header, rows)
        + f"\n\nRight answers of {count} (reasoning, ocr and video alike) for that share of the "
        "unreduced LLM's FLOPs, the method's own included. The front is that of all methods and shares."
    )


def _record(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def _cells(record: dict[str, Any]) -> Cells:
    return {(row["method"], row["budget"], row["task"]): row for row in record["rows"]}


def _budgets(record: dict[str, Any]) -> list[float]:
    return sorted({row["budget"] for row in record["rows"]} - {1.0}, reverse=True)


def _questions(record: dict[str, Any], tasks: tuple[str, ...] | list[str]) -> int:
    """How many questions of a task every method was asked."""
    return min(row["n"] for row in record["rows"] if row["task"] in tasks)


def _side_by_side(record: dict[str, Any], tasks: tuple[str, ...]) -> str:
    cells, budgets = _cells(record), _budgets(record)
    names = dict.fromkeys(row["method"] for row in record["rows"] if row["budget"] < 1)

    def right(name: str, budget: float) -> float:
        told = (cells.get((name, budget, task), {"accuracy": 0.0}) for task in tasks)
        return sum(cell["accuracy"] for cell in told)

    def line(name: str, budget: float) -> str:
        told = [cells.get((name, budget, task)) for task in tasks]
        if not any(told):
            return "-"
        return " / ".join("-" if cell is None else f"{100 * cell['accuracy']:.0f}" for cell in told)

    ranked = sorted(names, key=lambda name: -sum(right(name, budget) for budget in budgets))
    rows = [[UNREDUCED, *[line(UNREDUCED, 1.0)] * len(budgets)]]
    rows += [[f"`{name}`", *(line(name, budget) for budget in budgets)] for name in ranked]
    return (
        markdown(["method", *(f"{budget:.4g} of the tokens" for budget in budgets)], rows)
        + f"\n\nRight answers in percent, {' / '.join(tasks)}, {_questions(record, tasks)} held-out "
        "questions a task."
    )


def _place(name: str, right: dict[str, float], other: dict[str, float]) -> int:
    """One more than the number of better methods, of those that both models were asked with."""
    return 1 + sum(right[rival] > right[name] for rival in right.keys() & other.keys())


TABLES = {
    "zoo": zoo,
    "smol": smol,
    "smol tasks": smol_tasks,
    "smol places": smol_places,
    "smol layers": smol_layers,
    "front": front,
}
