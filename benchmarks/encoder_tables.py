"""The tables about the vision encoder, the whole request and training, from the records in results/."""

import json
from typing import Any

from tables import ROOT, markdown, points


def encoder() -> str:
    """Accuracy with a shorter encoder."""
    return _by_setting("encoder")


def rivals() -> str:
    """Accuracy with fewer frames or pixels, beside a shorter encoder."""
    return _by_setting("rivals")


def _by_setting(name: str) -> str:
    """A row for each setting; FLOPs where pictures of fewer pixels would save some are not told."""
    record = json.loads((ROOT / "results" / f"{name}.json").read_text())
    tasks: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        tasks.setdefault(row["setting"], {})[row["task"]] = row
    rows = []
    for setting, found in tasks.items():
        cells = []
        for task, row in found.items():
            if "frames" in setting and task != "video":  # a picture has one
                cells.append("-")
                continue
            difference = row["difference_to_same_without"] or row["difference"]
            told = "" if setting == "unreduced" else f" ({points(difference)})"
            cells.append(f"{row['accuracy']:.1%}{told}")
        flops = found["video"]["whole_flops"] / tasks["unreduced"]["video"]["whole_flops"]
        rows.append([setting, *cells, "-" if "pixels" in setting else f"{flops:.0%}"])
    return markdown(["setting", *tasks["unreduced"], "FLOPs, video"], rows)


def reuse() -> str:
    """Accuracy on clips with unchanged patches not encoded again."""
    record = json.loads((ROOT / "results" / "reuse.json").read_text())
    whole = record["rows"][0]["whole_flops"]
    rows = [
        [
            row["setting"],
            f"{row['accuracy']:.1%}",
            points(row["difference"]),
            "-" if (more := row["difference_to_same_without"]) is None else points(more),
            f"{row['whole_flops'] / whole:.0%}",
        ]
        for row in record["rows"]
    ]
    header = ["setting", "video", "to unreduced", "to the same without reuse", "FLOPs"]
    return markdown(header, rows)


def still_clip() -> str:
    """Pixels to first token of a clip with a still background."""
    record = json.loads((ROOT / "results" / "still_clip.json").read_text())
    rows = [
        [
            row["condition"],
            f"**{row['measured']:.2f}x**",
            f"{row['lowest']:.2f}-{row['highest']:.2f}",
            f"{row['counted']:.2f}x",
            f"{row['counted_whole']:.2f}x",
        ]
        for row in record["rows"]
    ]
    header = ["condition", "measured", "range", "counted", "counted, all layers"]
    first, where = record["rows"][0], record["conditions"]
    return (
        f"{markdown(header, rows)}\n\nLLaVA-OneVision-0.5B's shape, tower and LLM cut to "
        f"{first['layers']} layers each, {first['frames']} frames, {first['changed']:.0%} of the patches "
        f"of a frame change; {where['gpu'] or where['cpu']}, {record['dtype']}, SDPA, {where['threads']} "
        f"thread{'s' * (where['threads'] > 1)}, torch {where['torch']}, transformers "
        f"{where['transformers']}, commit {where['commit']}; medians of ratios within a round of "
        f"{first['rounds']}, after a warm-up."
    )


def order() -> str:
    """What each step over encoder and merging costs, by which a whole request's budget is spent."""
    record = json.loads((ROOT / "results" / "plan.json").read_text())
    cells = {(row["setting"], row["task"]): row for row in record["rows"]}
    settings = dict.fromkeys(setting for setting, _ in cells)
    tasks = dict.fromkeys(task for _, task in cells)
    rows = []
    for setting in settings:
        found = [cells[setting, task] for task in tasks]
        whole = sum(row["whole_flops"] for row in found)
        whole /= sum(cells["unreduced", task]["whole_flops"] for task in tasks)
        right = [f"{row['accuracy']:.1%} ({points(row['difference'])})" for row in found]
        rows.append([setting, *right, f"{whole:.0%}"])
    return (
        markdown(["setting", *tasks, "all FLOPs"], rows)
        + f"\n\n{record['n']} questions a task of the {record['split']} split, from number "
        f"{record['first']:,} on; in brackets the paired difference to unreduced, in points, with its "
        "95 % interval. FLOPs are of the whole request, the encoder included."
    )


def zoo_2026() -> str:
    """The methods of 2026 and those in the encoder, by `foveate measure`."""
    record = json.loads((ROOT / "results" / "zoo_2026.json").read_text())
    tasks = [task["name"] for task in record["run"]["tasks"]]
    cells = {(row["method"], row["budget"], row["task"]): row for row in record["rows"]}
    means = [row for row in record["rows"] if row["task"] == "mean"]
    rows = []
    for row in sorted(means, key=lambda row: -row["speedup"]):
        name, share = row["method"], row["budget"]
        right = [f"{cells[name, share, task]['accuracy']:.1%}" for task in tasks]
        change = points(row["difference"])
        cost = [f"{row['llm_share']:.0%}", f"{row['flops_share']:.0%}", f"{row['speedup']:.2f}x"]
        rows.append([f"`{name}`", f"{share:g}", *right, change, *cost])
    header = [
        "method",
        "share",
        *tasks,
        "mean to unreduced",
        "LLM FLOPs",
        "all FLOPs",
        "first token",
    ]
    count = min(cells[row["method"], row["budget"], task]["n"] for row in means for task in tasks)
    where = record["conditions"][-1]
    return (
        markdown(header, rows)
        + f"\n\nRight answers of {count} held-out questions a task; the difference of the mean in points "
        "with its 95 % interval. FLOPs are shares of unreduced, all of them from pixels to the last "
        "token. First token: how many times faster than unreduced "
        f"({where['cpu']}, {where['threads']} thread, torch {where['torch']}); what is below 1x does not "
        "pay."
    )


def adapted() -> str:
    """What LoRA through a reduction gives back."""
    rows = []
    for method, found in json.loads((ROOT / "results" / "adapted.json").read_text())[
        "methods"
    ].items():
        for task, row in found["tasks"].items():
            names = ("before_unreduced", "before_reduced", "after_reduced", "after_unreduced")
            right = [f"{row[name]:.1%}" for name in names]
            rows.append([f"`{method}`", task, *right, points(row["won"])])
    return markdown(
        [
            "reduction",
            "task",
            "unreduced",
            "reduced",
            "reduced, trained",
            "unreduced, trained",
            "won",
        ],
        rows,
    )
