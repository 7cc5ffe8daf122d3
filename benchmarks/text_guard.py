"""Does the guard for text tell reading from reasoning? `task="auto"` on held-out scenes.

    python benchmarks/text_guard.py

Every picture of a task is looked at, and three frames of every clip, as `vlm.ask` does. Right is "ocr"
for scenes of text and "reasoning" for the others; intervals are exact binomial ones. The record goes
to results/text_guard.json.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from foveate.ask.media import Clip, looked_at
from foveate.planner.text_guard import task_of
from foveate.records.conditions import conditions
from foveate.scenes import TASKS, make

ROOT = Path(__file__).parent.parent
EXPECTED = {"reasoning": "reasoning", "ocr": "ocr", "video": "reasoning"}


def measure(task: str, split: str, n: int) -> dict[str, Any]:
    """How often the guard is right on the first `n` scenes of a task."""
    right, milliseconds = 0, []
    for index in range(n):
        images = make(task, split, index).images()
        shown = looked_at([Clip(images)] if task == "video" else images)
        began = time.perf_counter()
        right += task_of(shown) == EXPECTED[task]
        milliseconds.append(1000 * (time.perf_counter() - began))
    interval = binomtest(right, n).proportion_ci(0.95, "exact")
    return {
        "task": task,
        "expected": EXPECTED[task],
        "n": n,
        "right": right,
        "accuracy": right / n,
        "interval": {"low": float(interval.low), "high": float(interval.high)},
        "median_ms": statistics.median(milliseconds),
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=300, help="scenes a task")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "text_guard.json")
    arguments = parser.parse_args()
    rows = []
    for task in TASKS:
        rows.append(measure(task, arguments.split, arguments.scenes))
        sys.stderr.write(f"{task}: {rows[-1]['right']} of {arguments.scenes}\n")
    record = {"conditions": conditions(), "split": arguments.split, "rows": rows}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
