"""What does it cost in accuracy? foveate-mini's exact match under AIM, with and without pruning.

    python benchmarks/accuracy.py

Held-out questions of each task, the same for every setting, answered by `generate`; differences to
unreduced come paired with a bootstrap interval. Each finished cell is kept in a journal: run the same
command again after a kill and it goes on. The summary goes to results/accuracy.json.
"""

import argparse
import hashlib
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

import foveate
from foveate.measure.records import Journal, conditions
from foveate.measure.statistics import paired_difference
from foveate.train.mini.evaluate import answers
from foveate.train.scenes import TASKS, questions

ROOT = Path(__file__).parent.parent
BATCH = 20
PRUNE = (0.5, 0.786)
SETTINGS = {
    f"keep={keep:g}, prune={'off' if prune is None else prune}": foveate.AIM(keep, prune)
    for keep in (1.0, 0.5, 0.25, 0.125, 0.0625)
    for prune in (None, PRUNE)
}
BASE = next(iter(SETTINGS))


def measure(
    vlm: Any, task: str, split: str, n: int, reduction: foveate.Reduction
) -> dict[str, Any]:
    """Right or wrong of every question of one task, in order, and the shares of FLOPs and KV."""
    groups = defaultdict(list)  # a batch has clips of one length
    for place, item in enumerate(questions(task, split, n)):
        groups[len(item[0])].append((place, item))
    right, families = [False] * n, [""] * n
    flops = full = kv = kv_full = tokens = 0
    for items in groups.values():
        for first in range(0, len(items), BATCH):
            part = items[first : first + BATCH]
            asked = [(images, question) for _, (images, question, _, _) in part]
            with foveate.reduce(vlm.model, reduction) as run:
                said = answers(vlm.model, vlm.processor, asked, is_video=task == "video")
            for (place, (_, _, answer, family)), text in zip(part, said, strict=True):
                right[place], families[place] = text == answer, family
            report = run.report
            flops, full = flops + report.prefill_flops, full + report.prefill_flops_unreduced
            kv, kv_full = kv + report.kv_bytes, kv_full + report.kv_bytes_unreduced
            tokens += sum(report.visual_tokens_to_llm)
    return {
        "right": right,
        "families": families,
        "flops_share": flops / full,
        "kv_share": kv / kv_full,
        "visual_tokens_to_llm": tokens / n,
    }


def fingerprint(model: Any) -> str:
    """Hash of the weights: a journal's cells belong to one model, not to a name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:12]


def main() -> None:
    """Parse, measure what the journal lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="foveate-mini")
    parser.add_argument("--questions", type=int, default=300, help="questions a task")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--journal", type=Path, default=ROOT / "runs" / "accuracy.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "accuracy.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load(arguments.model)
    mine = {
        "model": arguments.model,
        "weights": fingerprint(vlm.model),
        "split": arguments.split,
        "n": arguments.questions,
    }
    journal = Journal(arguments.journal)
    cells = {
        (row["task"], row["setting"]): row
        for row in journal
        if all(row.get(key) == value for key, value in mine.items())
    }
    left = [(t, s) for t in TASKS for s in SETTINGS if (t, s) not in cells]
    began = time.monotonic()
    for number, (task, setting) in enumerate(left):
        row = measure(vlm, task, arguments.split, arguments.questions, SETTINGS[setting])
        cells[task, setting] = row | {**mine, "task": task, "setting": setting}
        journal.append(cells[task, setting])
        minutes = (time.monotonic() - began) / (number + 1) * (len(left) - number - 1) / 60
        sys.stderr.write(
            f"{number + 1}/{len(left)} {task}, {setting}: {mean(row['right']):.1%}, "
            f"about {minutes:.0f} min left\n"
        )
    rows = [summarise(cells, task, setting) for task in TASKS for setting in SETTINGS]
    summary = {"conditions": conditions(threads=arguments.threads), **mine, "rows": rows}
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def mean(values: list[bool]) -> float:
    """Share of True."""
    return sum(values) / len(values)


def summarise(cells: dict[tuple[str, str], Any], task: str, setting: str) -> dict[str, Any]:
    """Accuracy of one cell, and how far it is from unreduced."""
    row, base = cells[task, setting], cells[task, BASE]
    by_family = defaultdict(list)
    for family, right in zip(row["families"], row["right"], strict=True):
        by_family[family].append(right)
    return {
        "task": task,
        "setting": setting,
        "accuracy": mean(row["right"]),
        "retained": mean(row["right"]) / mean(base["right"]),
        "difference": vars(paired_difference(base["right"], row["right"])),
        "families": {family: mean(values) for family, values in sorted(by_family.items())},
        **{key: row[key] for key in ("flops_share", "kv_share", "visual_tokens_to_llm")},
    }


if __name__ == "__main__":
    main()
