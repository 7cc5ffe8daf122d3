"""What does it cost in accuracy? foveate-mini's exact match under AIM, and with a shorter encoder.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --settings encoder --questions 400 --first 10000
    python benchmarks/accuracy.py --settings reuse --tasks video --questions 400 --first 20000
    python benchmarks/accuracy.py --settings rivals --questions 400 --first 40000
    python benchmarks/accuracy.py --settings plan --split val --first 1000 --questions 120

Held-out questions of each task, the same for every setting, asked by `foveate.measure.run`; differences
to unreduced, and to AIM alone where the encoder is shortened, come paired with a bootstrap interval.
Every answer is a line of a file: run the same command again after a kill and it goes on. The summary goes
to results/accuracy.json, or to the file in results/ that has the settings' name; by plan.json the
planner's order over encoder, merging and pruning was chosen.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rivals import FewerFrames, FewerPixels

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
AIM = foveate.AIM(0.25, PRUNE)
ENCODERS = {f"encoder {keep:g}": foveate.ToMeEncoder(keep) for keep in (0.7, 0.5, 0.35, 0.25)}
SETTINGS = {  # by name and share; the first is unreduced
    "aim": {
        (f"keep={keep:g}, prune={'off' if prune is None else prune}", keep): foveate.AIM(
            keep, prune
        )
        for keep in (1.0, 0.5, 0.25, 0.125, 0.0625)
        for prune in (None, PRUNE)
    },
    "encoder": {
        ("unreduced", 1.0): foveate.Reduction(),
        ("aim-merge", 0.25): foveate.Reduction(AIM.before),
        ("aim", 0.25): AIM,
        ("encoder 0.5", 1.0): foveate.Reduction(encode=ENCODERS["encoder 0.5"]),
        ("aim-merge, encoder 0.5", 0.25): foveate.Reduction(
            AIM.before, encode=ENCODERS["encoder 0.5"]
        ),
        **{(f"aim, {name}", 0.25): AIM.encoded_by(method) for name, method in ENCODERS.items()},
    },
    "reuse": {
        ("unreduced", 1.0): foveate.Reduction(),
        ("aim", 0.25): AIM,
        ("reuse", 1.0): foveate.Reduction(encode=foveate.Reuse()),
        ("aim, reuse", 0.25): AIM.encoded_by(foveate.Reuse()),
    },
    "rivals": {
        ("unreduced", 1.0): foveate.Reduction(),
        ("aim", 0.25): AIM,
        ("aim, encoder 0.5", 0.25): AIM.encoded_by(ENCODERS["encoder 0.5"]),
        ("aim, half of the frames", 0.25): foveate.AIM(0.5, PRUNE),  # as many tokens to the LLM
        ("aim, half of the pixels", 0.25): AIM,
        ("aim, encoder 0.25", 0.25): AIM.encoded_by(ENCODERS["encoder 0.25"]),
        ("aim, a quarter of the frames", 0.25): foveate.AIM(1.0, PRUNE),
        ("aim, a quarter of the pixels", 0.25): AIM,
        ("encoder 0.5", 1.0): foveate.Reduction(encode=ENCODERS["encoder 0.5"]),
        ("half of the pixels", 1.0): foveate.Reduction(),
        ("encoder 0.25", 1.0): foveate.Reduction(encode=ENCODERS["encoder 0.25"]),
        ("a quarter of the pixels", 1.0): foveate.Reduction(),
    },
    "plan": {
        ("unreduced", 1.0): foveate.Reduction(),
        **{
            (f"fovea {keep:g}, encoder {share:g}", keep): foveate.Fovea(keep, PRUNE).encoded_by(
                foveate.ToMeEncoder(share)
            )
            for keep in (1.0, 0.5, 0.25, 0.125, 0.0625)
            for share in (1.0, 0.7, 0.5, 0.35, 0.25)
        },
    },
}
SMALLER: dict[str, Any] = {  # what is done to the pictures before the processor sees them
    "aim, half of the frames": FewerFrames(0.5),
    "aim, a quarter of the frames": FewerFrames(0.25),
    **{f"{under}half of the pixels": FewerPixels(0.5) for under in ("aim, ", "")},
    **{f"{under}a quarter of the pixels": FewerPixels(0.25) for under in ("aim, ", "")},
}
BESIDE = {"aim-merge, ": ("aim-merge", 0.25), "aim, ": ("aim", 0.25)}  # compared with these, too
RESULTS = {"aim": "accuracy"} | {name: name for name in SETTINGS if name != "aim"}


def main() -> None:
    """Parse, measure what the file lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="foveate-mini")
    parser.add_argument("--settings", default="aim", choices=SETTINGS)
    parser.add_argument("--first", type=int, default=0, help="number of the first question")
    parser.add_argument("--tasks", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--questions", type=int, default=300, help="questions a task")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--records", type=Path, help="the answers; default under runs/")
    parser.add_argument("--out", type=Path, help="the summary; default under results/")
    arguments = parser.parse_args()
    name, settings = RESULTS[arguments.settings], SETTINGS[arguments.settings]
    records_file = arguments.records or ROOT / "runs" / f"{name}.jsonl"
    out, base = arguments.out or ROOT / "results" / f"{name}.json", next(iter(settings))
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load(arguments.model)
    runner = Runner(
        Local(vlm, arguments.model),
        [
            UNREDUCED_SETTING,
            *(
                Setting(*key, reduction, smaller=SMALLER.get(key[0]))
                for key, reduction in settings.items()
                if key != base
            ),
        ],
        [Scenes(name, arguments.split) for name in arguments.tasks],
        records_file,
        Amount(arguments.questions, batch=20, rounds=0, first=arguments.first),
    )
    runner.run(lambda done, what: sys.stderr.write(f"\r{done}/{runner.total} {what}    "))
    sys.stderr.write("\n")
    records = read(records_file)
    summary = {
        "conditions": conditions(threads=arguments.threads),
        "model": arguments.model,
        "weights": fingerprint(vlm.model),
        "split": arguments.split,
        "first": arguments.first,
        "n": arguments.questions,
        "rows": [
            summarise(records, task, key, base) for task in arguments.tasks for key in settings
        ],
    }
    out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def summarise(
    records: Records, task: str, key: tuple[str, float], unreduced: tuple[str, float]
) -> dict[str, Any]:
    """Accuracy of one setting on one task, and how far it is from unreduced, and from AIM alone."""
    base = records.cells[task][UNREDUCED, 1.0]
    cell = base if key == unreduced else records.cells[task][key]
    indices = sorted(cell.answers)
    right, base_right = cell.scores(indices), base.scores(indices)
    beside = next((other for start, other in BESIDE.items() if key[0].startswith(start)), None)
    difference = None
    if beside is not None:
        alone = records.cells[task][beside].scores(indices)
        difference = vars(paired_difference(alone, right))
    by_family = defaultdict(list)
    for index, score in zip(indices, right, strict=True):
        by_family[cell.answers[index]["question_kind"]].append(score)
    return {
        "task": task,
        "setting": key[0],
        "accuracy": fmean(right),
        "retained": fmean(right) / fmean(base_right),
        "difference": vars(paired_difference(base_right, right)),
        "difference_to_same_without": difference,
        "families": {family: fmean(values) for family, values in sorted(by_family.items())},
        "flops_share": share(cell, "llm_flops"),
        "whole_flops": fmean([row["flops"] for row in cell.answers.values()]),
        "kv_share": share(cell, "kv_bytes"),
        "visual_tokens_to_llm": fmean(
            [row["visual_tokens_to_llm"] for row in cell.answers.values()]
        ),
    }


def share(cell: Cell, name: str) -> float:
    """What a cell took of something, as a share of what it would have taken unreduced."""
    rows = cell.answers.values()
    return sum(row[name] for row in rows) / sum(row[f"{name}_unreduced"] for row in rows)


if __name__ == "__main__":
    main()
