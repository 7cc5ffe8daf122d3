"""Does LoRA through a reduction give back what reading lost? foveate-mini under a quarter of its tokens.

    python benchmarks/adapted.py
    python benchmarks/adapted.py --method fovea

Trains by `foveate.train.adapt` on scenes of the training split, then asks the model before and after the
same held-out questions of each task, reduced and not; differences come paired with a bootstrap interval.
Training and answers go on after a kill. The summary goes to results/adapted.json, a row a method.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import foveate
from foveate.measure.run.engines.local import Local
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import UNREDUCED_SETTING, Setting
from foveate.measure.tasks.scenes import NAMES, Scenes
from foveate.records.conditions import conditions
from foveate.records.intervals import paired_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import Cell, read
from foveate.train import Adaptation, Stage, adapt

ROOT = Path(__file__).parent.parent
OUT = ROOT / "results" / "adapted.json"
KEEP = 0.25
METHODS = {"aim": foveate.AIM(keep=KEEP), "fovea": foveate.create("fovea", keep=KEEP)}


def main() -> None:
    """Parse, train, ask, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="aim", choices=METHODS)
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--first", type=int, default=30_000, help="number of the first question")
    parser.add_argument("--questions", type=int, default=400, help="questions a task")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reduction = METHODS[arguments.method]
    recipe = Adaptation(
        model="foveate-mini", data=f"scenes:ocr+reasoning:{arguments.examples}",
        reduction=reduction.to_dict(), stage=Stage(1, arguments.rate, llm=True), save_every=50,
    )  # fmt: skip
    folder = ROOT / "runs" / f"adapted-{arguments.method}"
    trained = adapt(recipe, folder)
    asked = {
        name: answers(place, arguments, reduction, folder / f"{name}.jsonl")
        for name, place in (("before", "foveate-mini"), ("after", str(trained)))
    }
    held = json.loads(arguments.out.read_text())["methods"] if arguments.out.exists() else {}
    held[arguments.method] = {
        "conditions": conditions(threads=arguments.threads), "recipe": recipe.to_dict(),
        "split": arguments.split, "first": arguments.first, "n": arguments.questions,
        "tasks": {task: summarise(*(asked[name][task] for name in asked)) for task in NAMES},
    }  # fmt: skip
    arguments.out.write_text(json.dumps({"methods": held}, indent=1) + "\n")
    sys.stdout.write(json.dumps(held[arguments.method]["tasks"]) + "\n")


def answers(
    model: str, arguments: argparse.Namespace, reduction: foveate.Reduction, records: Path
) -> dict[str, dict[str, Cell]]:
    """By task what a model says, unreduced and reduced."""
    runner = Runner(
        Local(foveate.load(model), model),
        [UNREDUCED_SETTING, Setting(arguments.method, KEEP, reduction)],
        [Scenes(name, arguments.split) for name in NAMES],
        records,
        Amount(arguments.questions, batch=20, rounds=0, first=arguments.first),
    )
    runner.run(lambda done, what: sys.stderr.write(f"\r{done}/{runner.total} {what}    "))
    sys.stderr.write("\n")
    cells = read(records).cells
    return {
        task: {
            "unreduced": cells[task][UNREDUCED, 1.0],
            "reduced": cells[task][arguments.method, KEEP],
        }
        for task in NAMES
    }


def summarise(before: dict[str, Cell], after: dict[str, Cell]) -> dict[str, Any]:
    """Accuracy before and after, unreduced and reduced, and what the reduced model won."""
    indices = sorted(before["reduced"].answers)
    scores = {
        f"{when}_{how}": cell.scores(indices)
        for when, cells in (("before", before), ("after", after))
        for how, cell in cells.items()
    }
    won = paired_difference(scores["before_reduced"], scores["after_reduced"])
    return {**{name: fmean(each) for name, each in scores.items()}, "won": vars(won)}


if __name__ == "__main__":
    main()
