"""The tables of the study's page."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from tables import ROOT, markdown, seeds

TASKS = {"reasoning": "reasoning", "ocr": "reading"}
LEARNED = {"tokenpacker": "TokenPacker", "quecc": "QueCC"}


@cache
def record() -> dict[str, Any]:
    """results/study.json."""
    return json.loads((ROOT / "results" / "study.json").read_text())


def study_errors() -> str:
    """Of every size at every count, trained for it."""
    rows = []
    for task, name in TASKS.items():
        for size in _sizes(record()["cells"]):
            found = [_cell(size, "tokenpacker", count) for count in _counts()]
            rows.append([name, size, *(_error(cell, task) for cell in found)])
    packed = [
        cell
        for cell in record()["cells"]
        if cell["compressor"] == "tokenpacker" and cell["frames"] is None
    ]
    told = f"Means over {seeds(packed, 'size')}. A cell that was not run is a dash."
    return markdown(["error, %", "LLM", *map(str, _counts())], rows) + "\n\n" + told


def study_compressors() -> str:
    """With the question and without, and without training, at the same counts."""
    free = sorted({cell["compressor"] for cell in record()["cells"]} - LEARNED.keys())
    names = LEARNED | {name: name for name in free}
    rows = []
    for task, told in TASKS.items():
        for name, shown in names.items():
            for size in _sizes(record()["cells"]):
                found = [_cell(size, name, count) for count in _counts()[:-1]]
                if any(found):
                    rows.append([told, shown, size, *(_error(cell, task) for cell in found)])
    return markdown(["error, %", "method", "LLM", *map(str, _counts()[:-1])], rows)


def study_clips() -> str:
    """Of clips, tokens a frame and frames."""
    cells = [cell for cell in record()["cells"] if cell["frames"] is not None]
    if not cells:
        return "None was run so far."
    numbers, rows = sorted({cell["frames"] for cell in cells}), []
    for size in _sizes(cells):
        for tokens in sorted({cell["tokens"] for cell in cells}):
            found = [_cell(size, "tokenpacker", tokens, frames) for frames in numbers]
            rows.append([size, str(tokens), *(_error(cell, "video") for cell in found)])
    return markdown(["LLM", "tokens a frame", *(f"{n} frames" for n in numbers)], rows)


def study_laws() -> str:
    """Exponents, AICc, and how far a law is off where it was not fitted."""
    rows = []
    for task, forms in record()["laws"].items():
        for form, law in forms.items():
            if law is None:
                rows.append([task, form, *["-"] * 6])
                continue
            interval = law["interval"].get("alpha / beta")
            ratio = "-" if interval is None else f"{interval['low']:.2f} to {interval['high']:.2f}"
            aicc = "-" if law["aicc"] is None else f"{law['aicc']:.1f}"
            rows.append([task, form, str(law["points"]), f"{law['alpha']:.3f}", f"{law['beta']:.3f}",
                         ratio, f"{law['rmse']:.3f}", aicc])  # fmt: skip
    header = ["task", "form", "points", "alpha", "beta", "alpha / beta, 95 %", "misfit", "AICc"]
    return markdown(header, rows)


def study_verdicts() -> str:
    """Every claim, what was found, and what would make it hold."""
    rows = []
    for row in record()["verdicts"]:
        ends = [row["least"], row["most"]]
        asked = " to ".join("" if end is None else f"{end:g}" for end in ends).strip()
        asked = (
            asked
            if None not in ends
            else ("at least " if ends[1] is None else "at most ")
            + (f"{row['least']:g}" if ends[1] is None else f"{row['most']:g}")
        )
        found = "-"
        if row["value"] is not None:
            found = f"{row['value']:.3g} ({row['low']:.3g} to {row['high']:.3g})"
        rows.append([row["claim"], f"**{row['verdict']}**", found, asked])
    return markdown(["claim", "verdict", "number (95 %)", "holds where it is"], rows)


def study_trade() -> str:
    """At equal FLOPs, what is bought by training and what without."""
    rows = []
    for row in record()["trade"]:
        sides = [_told(row[side]) for side in ("trained", "without")]
        found = row["difference"]
        gap = "-"
        if found is not None:
            mean, low, high = (100 * found[key] for key in ("mean", "low", "high"))
            gap = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        rows.append([TASKS[row["task"]], row["counted"], f"{row['budget'] / 1e6:.3g}", *sides, gap])
    header = ["task", "counted", "MFLOP", "trained", "without training", "difference, points"]
    return markdown(header, rows)


def study_cost() -> str:
    """What all of it took, and where."""
    trained = [cell for cell in record()["cells"] if cell["compressor"] in LEARNED]
    hours = sum(cell["cpu_seconds"] * len(cell["seeds"]) for cell in trained) / 3600
    readers = sum(row["cpu_seconds"] for row in record()["readers"]) / 3600
    machines = dict.fromkeys(
        f"{where['gpu'] or where['cpu']} (torch {where['torch']})"
        for where in record()["conditions"]
    )
    runs = sum(len(cell["seeds"]) for cell in trained)
    return (
        f"{len(record()['readers'])} models that read all patches were trained in {readers:.1f} "
        f"hours of processor time, one thread each, and {runs} that go on from them in {hours:.1f}, on "
        f"{', '.join(machines)}."
    )


def _told(side: dict[str, Any]) -> str:
    method = side["method"] or "all patches"
    tokens = "" if side["method"] is None else f" to {side['tokens']}"
    return f"{side['size']}, {method}{tokens}: {100 * side['error']:.1f}"


def _cell(size: str, compressor: str, tokens: int, frames: int | None = None) -> Any:
    asked = (size, compressor, tokens, frames)
    for cell in record()["cells"]:
        if asked == (cell["size"], cell["compressor"], cell["tokens"], cell["frames"]):
            return cell
    return None


def _error(cell: dict[str, Any] | None, task: str) -> str:
    return "-" if cell is None else f"{100 * cell[task]['mean']:.1f}"


def _counts() -> list[int]:
    """Visual tokens of a picture."""
    return sorted({cell["tokens"] for cell in record()["cells"] if cell["frames"] is None})


def _sizes(cells: Iterable[dict[str, Any]]) -> list[str]:
    found = {cell["size"]: cell["parameters"] for cell in cells}
    return sorted(found, key=found.__getitem__)


TABLES = {
    "study errors": study_errors,
    "study compressors": study_compressors,
    "study clips": study_clips,
    "study laws": study_laws,
    "study verdicts": study_verdicts,
    "study trade": study_trade,
    "study cost": study_cost,
}
