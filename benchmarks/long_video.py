"""Few whole frames, or many reduced ones at the same LLM FLOPs? foveate-mini on clips of 16 frames.

    python benchmarks/long_video.py

Held-out questions, the same for every row: 4 frames unreduced; 16 frames under AIM, whose knobs
`foveate.plan` chooses so that the LLM's prefill costs no more than that of the 4 frames; 16 frames
unreduced, which tells how much is due to the frames alone; and the baselines and fovea-merge at as many
tokens as 4 frames have. Every answer is a line of a file: run the same command again after a kill and it
goes on. The summary goes to results/long_video.json.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

import foveate
from foveate.cost.request import request_cost
from foveate.cost.vision.encoder import Media
from foveate.measure.run.engines.local import Local
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import UNREDUCED_SETTING, Setting
from foveate.measure.tasks.long_video import LENGTH, LongVideo
from foveate.planner.budget import Budget
from foveate.planner.reduction import Plan, plan_reduction
from foveate.records.conditions import conditions
from foveate.records.intervals import paired_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import Cell, read

ROOT = Path(__file__).parent.parent
FEW = 4
SHARE = FEW / LENGTH
PLAIN = ("resize-grid", "pool", "stride", "random", "fovea-merge")


def main() -> None:
    """Parse, measure what the file lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="foveate-mini")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=Path, default=ROOT / "runs" / "long_video.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "long_video.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load(arguments.model)
    aim = planned(vlm, arguments.questions)
    settings = [
        UNREDUCED_SETTING,
        Setting("aim", SHARE, aim.reduction),
        *(Setting(name, SHARE, foveate.create(name, keep=SHARE)) for name in PLAIN),
    ]
    amount = Amount(arguments.questions, batch=10, rounds=0)
    for task, asked in ((LongVideo(FEW), settings[:1]), (LongVideo(), settings)):
        runner = Runner(Local(vlm, arguments.model), asked, [task], arguments.records, amount)
        runner.run(
            lambda done, what, of=runner.total: sys.stderr.write(f"\r{done}/{of} {what}    ")
        )
        sys.stderr.write("\n")
    cells = read(arguments.records).cells
    few, whole = cells[LongVideo(FEW).name], cells[LongVideo().name]
    base = few[UNREDUCED, 1.0]
    rows = [summarise(f"{FEW} frames, unreduced", base, base, FEW)]
    for setting in (settings[1], settings[0], *settings[2:]):
        name = setting.method
        rows.append(summarise(f"{LENGTH} frames, {name}", whole[setting.key], base, LENGTH))
    summary = {
        "conditions": conditions(threads=arguments.threads),
        "model": arguments.model,
        "split": "test",
        "n": arguments.questions,
        "aim": {"keep": aim.keep, "prune": aim.prune, "why": aim.why},
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def planned(vlm: Any, questions: int) -> Plan:
    """AIM for 16 frames at the LLM FLOPs of 4 whole ones, for a question of middling length."""
    items = [LongVideo(FEW).item(index) for index in range(questions)]
    (clip,) = items[0].media
    width, height = clip.frames[0].size
    few = Media(frames=FEW, height=height, width=width)
    lengths = [vlm.batch([(item.media, item.question)])["input_ids"].shape[1] for item in items]
    visual = request_cost(vlm.model.config, few, 1).visual_tokens_in
    text = round(median(lengths)) - visual
    cost = request_cost(vlm.model.config, few, text).prefill_flops
    many = Media(frames=LENGTH, height=height, width=width)
    return plan_reduction(vlm, Budget("flops", cost), many, text)


def summarise(name: str, cell: Cell, base: Cell, frames: int) -> dict[str, Any]:
    """Accuracy and cost of a row, and both beside the few whole frames."""
    indices = sorted(set(cell.answers) & set(base.answers))
    scores = cell.scores(indices)
    families = defaultdict(list)
    for index, score in zip(indices, scores, strict=True):
        families[cell.answers[index]["question_kind"]].append(score)
    flops, base_flops = cell.mean("llm_flops", indices), base.mean("llm_flops", indices)
    every, base_every = cell.mean("flops", indices), base.mean("flops", indices)
    return {
        "row": name,
        "frames": frames,
        "n": len(indices),
        "accuracy": fmean(scores),
        "difference": asdict(paired_difference(base.scores(indices), scores)),
        "llm_flops": flops,
        "llm_ratio": None if flops is None or base_flops is None else flops / base_flops,
        "flops_ratio": None if every is None or base_every is None else every / base_every,
        "visual_tokens_to_llm": cell.mean("visual_tokens_to_llm", indices),
        "families": {
            family: {"n": len(found), "accuracy": fmean(found)}
            for family, found in sorted(families.items())
        },
    }


if __name__ == "__main__":
    main()
