"""Which learned compressor keeps what a question needs? Five of them at 36, 16, 4 and 1 tokens.

    python benchmarks/compressors.py

foveate-mini's tower stays frozen; compressor, projector and LLM are trained on the same questions for
the same steps, then asked held-out ones. Features are made once and each finished cell goes to a
journal, runs/compressors/journal.jsonl: run the same command again after a kill and it goes on. It
tells validation accuracy only; answers to the test split are written down, not shown.
"""

import argparse
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
from foveate.train.rivals.features import Pictures, pictures

ROOT = Path(__file__).parent.parent
EVERY = 100  # steps between two lines of progress


def main() -> None:
    """Parse, and train what the journal lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rivals", nargs="+", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--tokens", nargs="+", type=int, default=list(COUNTS[::-1]), choices=COUNTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=RivalRecipe.steps)
    parser.add_argument("--pictures", type=int, default=6000, help="training pictures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "compressors")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load("foveate-mini")
    tower, features = vlm.model.model.vision_tower, arguments.work / "features"
    sets = {
        "train": pictures(tower, "train", arguments.pictures, 6, features),
        "val": pictures(tower, "val", 800, 1, features),
        "test": pictures(tower, "test", 2000, 1, features),
    }
    recipe = replace(RivalRecipe(), steps=arguments.steps)
    journal = Journal(arguments.work / "journal.jsonl")
    for seed in arguments.seeds:
        for tokens in arguments.tokens:
            for name in arguments.rivals:
                mine = {"rival": name, "seed": seed, "recipe": asdict(recipe)}
                mine |= {"pictures": arguments.pictures, "settings": asdict(RIVALS[name])}
                held = {r["tokens"] for r in journal if all(r.get(k) == v for k, v in mine.items())}
                counts = COUNTS if RIVALS[name].elastic else (tokens,)
                if not set(counts) <= held:
                    cell(vlm, sets, mine, tokens, counts, recipe, journal, arguments.threads)


def cell(
    vlm: Any,
    sets: dict[str, Pictures],
    mine: dict[str, Any],
    tokens: int,
    counts: tuple[int, ...],
    recipe: RivalRecipe,
    journal: Journal,
    threads: int,
) -> None:
    """Train once, ask at every count that this training serves, and write it down."""
    name, seed, rival = mine["rival"], mine["seed"], RIVALS[mine["rival"]]
    trainee = Trainee(vlm.model, Packer(vlm.processor.tokenizer), rival, tokens, seed)
    losses: list[float] = []
    began = time.monotonic()

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step % EVERY == 0:
            left = (time.monotonic() - began) / step * (recipe.steps - step) / 60
            mean = sum(losses[-EVERY:]) / EVERY
            say(
                f"{name} {tokens} seed {seed}: {step}/{recipe.steps} loss {mean:.3f} {left:.0f} min left"
            )

    seconds = train(trainee, sets["train"], rival, tokens, recipe, seed, report)
    for count in counts:
        row = mine | {"tokens": count, "seconds": seconds, "losses": losses[EVERY - 1 :: EVERY]}
        for split in ("val", "test"):
            asked = [questions[0].family for questions in sets[split].questions]
            row[split] = {"right": trainee.right(sets[split], count), "families": asked}
        journal.append(row | {"conditions": conditions(threads=threads)})
        right = row["val"]["right"]
        shares: dict[str, list[bool]] = {}
        for family, hit in zip(row["val"]["families"], right, strict=True):
            shares.setdefault(family, []).append(hit)
        told = " ".join(f"{key} {sum(v) / len(v):.2f}" for key, v in sorted(shares.items()))
        say(
            f"## {name} {count} seed {seed}: val reasoning {sum(right[::2]) / len(right[::2]):.3f} "
            f"ocr {sum(right[1::2]) / len(right[1::2]):.3f}; {told}"
        )


def say(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
