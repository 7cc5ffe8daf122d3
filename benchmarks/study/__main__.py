"""How does the error fall with LLM size, visual tokens and frames? The law of 2411.03312, in small.

    python -m benchmarks.study                # train and ask what the journal lacks
    python -m benchmarks.study --minutes 60   # and stop after an hour; the same command goes on
    python -m benchmarks.study --summarise    # results/study.json and .png from the journal

foveate-mini's tower stays frozen. Each LLM size learns to read all 144 patches, then goes on with every
count of visual tokens, by TokenPacker (as in the paper) and QueCC, and from there to clips. What is
finished goes to the journal results/study.jsonl, features and checkpoints to runs/study. Progress tells
validation accuracy only; answers to the test split are written down, not shown.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import foveate
from benchmarks.compressors.features import pictures
from benchmarks.study.cells import SEEDS, cells
from benchmarks.study.clips import CLIPS, clips
from benchmarks.study.figure import plot
from benchmarks.study.pictures import PICTURES, draw, helps
from benchmarks.study.run import Recipes, Study
from benchmarks.study.sizes import SIZES
from benchmarks.study.summary import summarise
from foveate.records.conditions import commit, conditions
from foveate.records.journal import Journal

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Parse, and train what the journal lacks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--summarise", action="store_true", help="train nothing")
    parser.add_argument("--rates", action="store_true", help="find the sizes' learning rates only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--commit", default=commit(), help="where this is no checkout")
    parser.add_argument("--minutes", type=float, help="start no cell after so long")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "study")
    parser.add_argument("--journal", type=Path, default=ROOT / "results" / "study.jsonl")
    arguments = parser.parse_args()
    if arguments.summarise:
        found = summarise(Journal(arguments.journal))
        arguments.journal.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        arguments.journal.with_suffix(".png").write_bytes(plot(found))
        return
    torch.set_num_threads(arguments.threads)
    study, began = _study(arguments), time.monotonic()
    if arguments.rates:
        for name in arguments.sizes:
            say(f"{name} learns at {study.rate(name):g}")
        return
    todo = list(cells(arguments.seeds, arguments.sizes))
    for number, cell in enumerate(todo):
        spent = (time.monotonic() - began) / 60
        if arguments.minutes and spent > arguments.minutes:
            break
        say(f"{number} of {len(todo)} cells, {spent:.0f} min")
        study.run(cell)


def _study(arguments: argparse.Namespace) -> Study:
    mini, folder = foveate.load("foveate-mini", device=arguments.device), arguments.folder
    tower = mini.model.model.vision_tower
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    return Study(
        mini=mini,
        pictures={s: pictures(tower, s, count, folder, draw) for s, count in PICTURES.items()},
        clips={s: clips(tower, s, count, folder) for s, count in CLIPS.items()},
        helps=helps(mini.processor.tokenizer, PICTURES["train"], folder),
        recipes=Recipes(),
        journal=Journal(arguments.journal),
        folder=folder,
        conditions=conditions(gpu=gpu, threads=arguments.threads, commit=arguments.commit),
        say=say,
    )


def say(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
