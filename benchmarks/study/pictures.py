"""What every model of the study sees: crowded pictures of digits, and pictures of text.

With one or two digits four tokens tell all, and the law has nothing to tell; so there are three to five.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from benchmarks.compressors.features import TASKS
from foveate.scenes import make, reasoning
from foveate.scenes.sample import GRID, SPLITS, Sample
from recipes.foveate_mini.roles import role_targets
from recipes.foveate_mini.visual import shown

FEWEST, MOST = 3, 5
PICTURES = {"train": 12000, "val": 1000, "test": 6000}  # half of each task
SEED = 7  # apart from what other benchmarks drew
PATCHES = GRID * GRID


def draw(task: str, split: str, index: int) -> Sample:
    """The picture of a task, split and number."""
    if task != "reasoning":
        return make(task, split, index, seed=SEED)
    rng = np.random.default_rng([SEED, SPLITS.index(split), index])
    return reasoning.make(split, index, rng, FEWEST, MOST)


@dataclass(frozen=True)
class Helps:
    """What training pictures show where, for the helps of foveate-mini's recipe.

    Attributes:
        shown: (P, N) whether a patch shows a part of a character.
        roles: (P, N) the token that a patch should read as, as `role_targets` gives it.
    """

    shown: Bool[Tensor, "P N"]
    roles: Int[Tensor, "P N"]


def helps(tokenizer: Any, count: int, folder: Path) -> Helps:
    """Of `count` training pictures, made if they are not on disk yet."""
    path = folder / f"helps-{count}.npz"
    if not path.exists():
        samples = [draw(TASKS[row % 2], "train", row // 2) for row in range(count)]
        made = {
            "shown": shown(samples)[:, :PATCHES].numpy(),
            "roles": role_targets(samples, tokenizer)[:, :PATCHES].numpy().astype(np.int32),
        }
        unfinished = path.with_suffix(".part.npz")
        np.savez_compressed(unfinished, **made)
        os.replace(unfinished, path)
    with np.load(path) as held:
        return Helps(torch.from_numpy(held["shown"]), torch.from_numpy(held["roles"]).long())
