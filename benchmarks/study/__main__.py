"""How does the error fall with LLM size and with visual tokens? The law of 2411.03312, in small.

    python -m benchmarks.study                # train and ask what the journal lacks
    python -m benchmarks.study --minutes 60   # and stop after an hour; the same command goes on

foveate-mini's tower stays frozen. Each LLM size learns to read all 144 patches, then goes on with every
count of visual tokens, by TokenPacker (as in the paper) and QueCC. Finished cells go to the journal
results/study.jsonl, features and checkpoints to runs/study. Progress tells validation accuracy only;
answers to the test split are written down, not shown.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

import foveate
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import pictures
from benchmarks.study.cells import cells
from benchmarks.study.pictures import PICTURES, draw
from benchmarks.study.pretrain import Pretraining
from benchmarks.study.run import Study
from foveate.records.conditions import conditions
from foveate.records.journal import Journal

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Parse, and train what the journal lacks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="start no cell after so long")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "study")
    parser.add_argument("--journal", type=Path, default=ROOT / "results" / "study.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    mini = foveate.load("foveate-mini")
    tower, folder = mini.model.model.vision_tower, arguments.folder
    sets = {split: pictures(tower, split, count, folder, draw) for split, count in PICTURES.items()}
    study = Study(
        mini, sets, Pretraining(), RivalRecipe(), Journal(arguments.journal), folder,
        conditions(threads=arguments.threads), say,
    )  # fmt: skip
    began = time.monotonic()
    for cell in cells():
        if arguments.minutes and time.monotonic() - began > 60 * arguments.minutes:
            break
        study.run(cell)


def say(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
