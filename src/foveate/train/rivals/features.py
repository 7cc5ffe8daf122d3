"""The frozen tower's features of many pictures, made once and kept on disk, with their questions."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foveate.train.mini.plan import ask
from foveate.train.mini.tower import pixels_of
from foveate.train.scenes import make, one_question
from foveate.train.scenes.sample import GRID, Question, Sample

TASKS = ("reasoning", "ocr")
AT_ONCE = 32


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split, half of each task, one after another in turns.

    Attributes:
        states: (P, L, N, D) float16 on disk, the tower's hidden states behind each of its layers.
        questions: some of each picture, in the order in which they are asked.
    """

    states: np.ndarray
    questions: list[list[Question]]

    def batch(self, rows: list[int]) -> list[Float[Tensor, "B N D"] | None]:
        """Hidden states of some pictures, by layer; the patch embedding, number 0, is not kept."""
        picked = torch.from_numpy(np.stack([self.states[row] for row in rows])).float()
        return [None, *picked.unbind(1)]


def pictures(tower: Any, split: str, count: int, asked: int, folder: Path) -> Pictures:
    """The pictures of a split, encoded if they are not on disk yet.

    Args:
        tower: the frozen vision tower.
        split: "train", "val" or "test".
        count: pictures, half of each task.
        asked: questions a picture; of "val" and "test" pictures one, that of `scenes.questions`.
        folder: where they are kept.
    """
    stem = folder / f"{split}-{count}-{asked}"
    data, text = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not text.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _encode(tower, split, count, asked, data, text)
    rows = json.loads(text.read_text())
    questions = [[Question(**one) for one in row] for row in rows]
    return Pictures(np.load(data, mmap_mode="r"), questions)


def _encode(tower: Any, split: str, count: int, asked: int, data: Path, text: Path) -> None:
    config = tower.config
    shape = (count, config.num_hidden_layers, GRID * GRID, config.hidden_size)
    unfinished = data.with_suffix(".part")
    kept = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
    rows = []
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        samples = [make(TASKS[number % 2], split, number // 2) for number in numbers]
        pixels = pixels_of(np.stack([sample.frame(0) for sample in samples]))
        with torch.no_grad():
            states = tower(pixels, output_hidden_states=True).hidden_states[1:]
        kept[numbers.start : numbers.stop] = torch.stack(states, 1).half().numpy()
        rows += [[asdict(one) for one in _questions(sample, split, asked)] for sample in samples]
    kept.flush()
    os.replace(unfinished, data)
    text.write_text(json.dumps(rows))


def _questions(sample: Sample, split: str, asked: int) -> list[Question]:
    """Of a training picture several, of as many families as there are; else the one that is scored."""
    if split != "train":
        return [one_question(sample)]
    every = ask([sample], 1000, seed=0)[0]
    by_family: dict[str, list[Question]] = {}
    for question in every:
        by_family.setdefault(question.family, []).append(question)
    pools = list(by_family.values())
    return [
        pools[n % len(pools)][n // len(pools) % len(pools[n % len(pools)])] for n in range(asked)
    ]
