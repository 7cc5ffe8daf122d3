"""Which learned compressor keeps what a question needs? Five of them at 36, 16, 4 and 1 tokens.

    python benchmarks/compressors.py

foveate-mini's tower stays frozen; compressor, projector and LLM are trained on the same questions for the same
steps, then asked held-out ones. Features are made once, each finished cell goes to a journal: run the same
command again after a kill and it goes on. The summary goes to results/compressors.json.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import foveate
from foveate.measure.records import Journal, conditions
from foveate.train.mini.packing import Packer
from foveate.train.rivals.cell import COUNTS, RIVALS, RivalRecipe, Trainee, train
from foveate.train.rivals.features import pictures

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Parse, train and ask what the journal lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rivals", nargs="+", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--tokens", nargs="+", type=int, default=[1, 4, 36, 16])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=RivalRecipe.steps)
    parser.add_argument("--peak", type=float, default=RivalRecipe.peak)
    parser.add_argument("--peak-llm", type=float, default=RivalRecipe.peak_llm)
    parser.add_argument("--first-stage", type=float, default=RivalRecipe.first_stage)
    parser.add_argument("--batch", type=int, default=RivalRecipe.batch)
    parser.add_argument("--pictures", type=int, default=12000, help="training pictures")
    parser.add_argument("--questions", type=int, default=2000, help="held-out questions")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "compressors")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load("foveate-mini")
    recipe = replace(
        RivalRecipe(), steps=arguments.steps, peak=arguments.peak, peak_llm=arguments.peak_llm,
        first_stage=arguments.first_stage, batch=arguments.batch,
    )
    tower = vlm.model.model.vision_tower
    seen = pictures(tower, "train", arguments.pictures, 6, arguments.work / "features")
    held = pictures(tower, arguments.split, arguments.questions, 1, arguments.work / "features")
    packer = Packer(vlm.processor.tokenizer)
    journal = Journal(arguments.work / f"{arguments.split}.jsonl")
    for seed in arguments.seeds:
        for tokens in arguments.tokens:
            for name in arguments.rivals:
                rival = RIVALS[name]
                base = {"rival": name, "seed": seed, "split": arguments.split, "recipe": asdict(recipe)}
                counts = COUNTS if rival.elastic else (tokens,)
                done = {r["tokens"] for r in journal if all(r.get(k) == v for k, v in base.items())}
                if set(counts) <= done:
                    continue
                trainee = Trainee(vlm.model, packer, rival, tokens, seed)
                losses: list[float] = []
                began = time.monotonic()

                def report(step: int, loss: float) -> None:
                    losses.append(loss)
                    if step % 50 == 0:
                        mean = sum(losses[-50:]) / 50
                        pace = (time.monotonic() - began) / step
                        sys.stderr.write(f"{name} {tokens} seed {seed} {step}/{recipe.steps} loss {mean:.3f} {pace:.2f} s/step\n")
                        sys.stderr.flush()

                seconds = train(trainee, seen, rival, tokens, recipe, seed, report)
                for count in counts:
                    right = trainee.right(held, count)
                    families = [q[0].family for q in held.questions]
                    journal.append(base | {"tokens": count, "seconds": seconds, "right": right, "families": families, "conditions": conditions(threads=arguments.threads)})
                    fam: dict[str, list[bool]] = {}
                    for f, r in zip(families, right): fam.setdefault(f, []).append(r)
                    sys.stderr.write(f"## {name} {count} seed {seed}: reasoning {sum(right[::2])/len(right[::2]):.3f} ocr {sum(right[1::2])/len(right[1::2]):.3f} {({f: round(sum(v)/len(v),2) for f, v in sorted(fam.items())})}\n")


if __name__ == "__main__":
    main()
