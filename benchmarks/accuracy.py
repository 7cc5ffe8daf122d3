"""What does it cost in accuracy? foveate-mini's exact match under AIM, with and without pruning.

    python benchmarks/accuracy.py

Held-out questions of each task, the same for every setting, asked by `foveate.measure.run`; differences
to unreduced come paired with a bootstrap interval. Every answer is a line of a file: run the same
command again after a kill and it goes on. The summary goes to results/accuracy.json.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

import foveate
from foveate.measure.run.engines.local import Local
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import UNREDUCED_SETTING, Setting
from foveate.measure.run.worker import fingerprint
from foveate.measure.tasks.scenes import NAMES, SPLITS, Scenes
from foveate.records.conditions import conditions
from foveate.records.intervals import paired_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import Cell, Records, read

ROOT = Path(__file__).parent.parent
PRUNE = (0.5, 0.786)
SETTINGS = {
    (f"keep={keep:g}, prune={'off' if prune is None else prune}", keep): foveate.AIM(keep, prune)
    for keep in (1.0, 0.5, 0.25, 0.125, 0.0625)
    for prune in (None, PRUNE)
}
BASE = next(iter(SETTINGS))


def main() -> None:
    """Parse, measure what the file lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="foveate-mini")
    parser.add_argument("--questions", type=int, default=300, help="questions a task")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--records", type=Path, default=ROOT / "runs" / "accuracy.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "accuracy.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load(arguments.model)
    runner = Runner(
        Local(vlm, arguments.model),
        [
            UNREDUCED_SETTING,
            *(Setting(*key, reduction) for key, reduction in SETTINGS.items() if key != BASE),
        ],
        [Scenes(name, arguments.split) for name in NAMES],
        arguments.records,
        Amount(arguments.questions, batch=20, rounds=0),
    )
    runner.run(lambda done, what: sys.stderr.write(f"\r{done}/{runner.total} {what}    "))
    sys.stderr.write("\n")
    records = read(arguments.records)
    summary = {
        "conditions": conditions(threads=arguments.threads),
        "model": arguments.model,
        "weights": fingerprint(vlm.model),
        "split": arguments.split,
        "n": arguments.questions,
        "rows": [summarise(records, task, key) for task in NAMES for key in SETTINGS],
    }
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def summarise(records: Records, task: str, key: tuple[str, float]) -> dict[str, Any]:
    """Accuracy of one setting on one task, and how far it is from unreduced."""
    base = records.cells[task][UNREDUCED, 1.0]
    cell = base if key == BASE else records.cells[task][key]
    indices = sorted(cell.answers)
    right, base_right = cell.scores(indices), base.scores(indices)
    by_family = defaultdict(list)
    for index, score in zip(indices, right, strict=True):
        by_family[cell.answers[index]["question_kind"]].append(score)
    return {
        "task": task,
        "setting": key[0],
        "accuracy": mean(right),
        "retained": mean(right) / mean(base_right),
        "difference": vars(paired_difference(base_right, right)),
        "families": {family: mean(values) for family, values in sorted(by_family.items())},
        "flops_share": share(cell, "llm_flops"),
        "kv_share": share(cell, "kv_bytes"),
        "visual_tokens_to_llm": mean(
            [row["visual_tokens_to_llm"] for row in cell.answers.values()]
        ),
    }


def share(cell: Cell, name: str) -> float:
    """What a cell took of something, as a share of what it would have taken unreduced."""
    rows = cell.answers.values()
    return sum(row[name] for row in rows) / sum(row[f"{name}_unreduced"] for row in rows)


def mean(values: list[float]) -> float:
    """Mean of numbers."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
