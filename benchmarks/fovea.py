"""How fovea was chosen: ways to pick tokens, compared on the validation split at equal shares.

    python benchmarks/fovea.py                  # about half an hour on one core

What stays is chosen by diversity or by bipartite matching, over a whole sample or group by group; the
rest is merged or dropped; with and without pruning inside the LLM, in three windows. Every answer goes
to a journal: run the same command again after a kill and it goes on. The summary goes to
results/fovea.json; the test split is not touched.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

import foveate
from foveate.combine.aim import AIM
from foveate.combine.fovea import Fovea
from foveate.measure.run.engines.local import Local
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import UNREDUCED_SETTING, Setting
from foveate.measure.tasks.scenes import NAMES, Scenes
from foveate.prune.aim import AIMPrune
from foveate.records.summary import summarise
from foveate.reduction import Reduction, at_share
from foveate.registry import method

ROOT = Path(__file__).parent.parent
SHARES = (0.25, 0.125, 0.0625)
WINDOWS = ((0.5, 0.786), (0.25, 0.75), (0.25, 0.5))
BEFORE = ("aim-merge", "divprune", "fovea-merge")


def variants(share: float, layers: int) -> dict[str, Reduction]:
    """Every variant at one share of visual tokens, mean over the layers."""
    found = {name: at_share(method(name), share, layers) for name in BEFORE}
    for window in WINDOWS:
        keep = AIMPrune(window).keep_before(share, layers)
        for name, kind in (("aim", AIM), ("fovea", Fovea)):
            found[f"{name} {window[0]:g} to {window[1]:g}"] = kind(keep=keep, prune=window)
    return found


def main() -> None:
    """Parse, ask what the journal lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=150, help="questions a task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--journal", type=Path, default=ROOT / "runs" / "fovea.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "fovea.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vlm = foveate.load("foveate-mini")
    layers = len(vlm.family.language_model(vlm.model.model).layers)
    settings = [
        UNREDUCED_SETTING,
        *(
            Setting(name, share, reduction)
            for share in SHARES
            for name, reduction in variants(share, layers).items()
        ),
    ]
    tasks = [Scenes(name, "val") for name in NAMES]
    amount = Amount(samples=arguments.questions, rounds=0)
    runner = Runner(Local(vlm, "foveate-mini"), settings, tasks, arguments.journal, amount)
    runner.run(lambda done, what: sys.stderr.write(f"\r{done}/{runner.total} {what}   "))
    summary = summarise(arguments.journal).to_dict()
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
