"""The frozen tower's features of many pictures, made once and kept on disk, with their questions."""

import json
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from foveate.scenes import make, one_question
from foveate.scenes.sample import GRID, Question, Sample
from recipes.foveate_mini.plan import ask
from recipes.foveate_mini.tower import pixels_of

TASKS = ("reasoning", "ocr")
AT_ONCE = 32
EVERY = 1000  # more questions than any picture has


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split, one of each task in turns.

    Attributes:
        states: (P, L, N, D) float16 on disk, the tower's hidden states behind each of its layers.
        questions: of each training picture all, of another the one that is scored.
        device: where a batch goes.
    """

    states: np.ndarray
    questions: list[list[Question]]
    device: torch.device | str = "cpu"

    def batch(self, rows: list[int]) -> list[Float[Tensor, "B N D"] | None]:
        """Hidden states of some pictures, by layer; the patch embedding, number 0, is not kept."""
        picked = torch.from_numpy(np.stack([self.states[row] for row in rows]))
        picked = picked.to(self.device).float()
        return [None, *picked.unbind(1)]

    def of(self, task: str) -> list[int]:
        """The numbers of one task's pictures."""
        return list(range(TASKS.index(task), len(self.questions), len(TASKS)))


def pictures(
    tower: Any, split: str, count: int, folder: Path, draw: Callable[..., Sample] = make
) -> Pictures:
    """The pictures of a split, made if they are not on disk yet; batches go where the tower is.

    Args:
        tower: the frozen vision tower.
        split: "train", "val" or "test".
        count: pictures, half of each task.
        folder: where their features are kept.
        draw: makes the picture of a task, split and number.
    """
    path, told = (folder / f"{split}-{count}.{kind}" for kind in ("npy", "json"))
    last = draw(TASKS[(count - 1) % 2], split, (count - 1) // 2)
    asked = _read(told) if path.exists() else []
    if asked[-1:] != [questions_of(last)]:  # not made yet, or of other scenes
        samples = [draw(TASKS[row % 2], split, row // 2) for row in range(count)]
        encode(tower, [one.frame(0) for one in samples], path)
        asked = [questions_of(one) for one in samples]
        told.write_text(json.dumps([[astuple(one) for one in row] for row in asked]))
    return Pictures(np.load(path, mmap_mode="r"), asked, tower.device)


def questions_of(sample: Sample) -> list[Question]:
    """Of a training sample all, of another the one that is scored."""
    return ask([sample], EVERY, seed=0)[0] if sample.split == "train" else [one_question(sample)]


def _read(told: Path) -> list[list[Question]]:
    if not told.exists():
        return []
    return [[Question(*one) for one in row] for row in json.loads(told.read_text())]


def encode(tower: Any, frames: list[UInt8[np.ndarray, "144 144 3"]], path: Path) -> None:
    """Write the tower's hidden states of some pictures to `path`, all of them or nothing."""
    config = tower.config
    shape = (len(frames), config.num_hidden_layers, GRID * GRID, config.hidden_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    kept = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
    for first in range(0, len(frames), AT_ONCE):
        pixels = pixels_of(np.stack(frames[first : first + AT_ONCE]))
        with torch.no_grad():
            states = tower(pixels.to(tower.device), output_hidden_states=True).hidden_states[1:]
        kept[first : first + AT_ONCE] = torch.stack(states, 1).half().cpu().numpy()
    kept.flush()
    os.replace(unfinished, path)
