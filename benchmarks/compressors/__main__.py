"""Which learned compressor keeps what a question needs? Rivals at 36, 16, 4 and 1 tokens.

    python -m benchmarks.compressors                # train and ask what the journal lacks
    python -m benchmarks.compressors --summarise    # results/compressors.json and .png from the journal

foveate-mini's tower stays frozen; compressor, projector and LLM are trained on the same questions for
the same steps, then asked held-out ones. The tower's features are made once, in runs/compressors; each
finished cell goes to the journal results/compressors.jsonl: run the same command again after a kill and
it goes on. Progress tells validation accuracy only; answers to the test split are written down, not
shown.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

import foveate
from benchmarks.compressors.cell import COUNTS, RIVALS
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import pictures
from benchmarks.compressors.figure import plot
from benchmarks.compressors.grid import Grid
from benchmarks.compressors.summary import summarise
from foveate.records.conditions import conditions
from foveate.records.journal import Journal

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
PICTURES = {"train": 6000, "val": 800, "test": 2000}


def main() -> None:
    """Parse, and train what the journal lacks, or sum it up."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compressors", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rivals", nargs="+", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--tokens", nargs="+", type=int, default=list(COUNTS[::-1]), choices=COUNTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features", type=Path, default=ROOT / "runs" / "compressors")
    parser.add_argument("--journal", type=Path, default=RESULTS / "compressors.jsonl")
    parser.add_argument("--summarise", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    recipe, journal = RivalRecipe(), Journal(arguments.journal)
    if arguments.summarise:
        found = summarise(journal, asdict(recipe))
        (RESULTS / "compressors.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "compressors.png").write_bytes(plot(found))
        return
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load("foveate-mini")
    tower, folder = vlm.model.model.vision_tower, arguments.features
    sets = {split: pictures(tower, split, count, folder) for split, count in PICTURES.items()}
    grid = Grid(vlm, sets, recipe, journal, conditions(threads=arguments.threads), say)
    for tokens in arguments.tokens:
        for seed in arguments.seeds:
            for name in arguments.rivals:
                grid.run(name, tokens, seed)


def say(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
