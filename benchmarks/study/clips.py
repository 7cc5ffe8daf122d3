"""What the clips of the study are: sixteen frames of digits that come, go and move, some frames shown."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.compressors.features import Pictures, encode, questions_of
from benchmarks.study.pictures import SEED
from foveate.scenes import make
from foveate.scenes.sample import Question, Sample

CLIPS = {"train": 2500, "val": 400, "test": 1500}
LENGTH = 16


@dataclass(frozen=True)
class Clips:
    """Clips of one split; what a model sees of each are frames at even distances.

    Attributes:
        stills: the frames that differ, of all clips one after another.
        places: (C, 16) which still each frame is.
        questions: of each training clip all, of another the one that is scored.
        frames: how many frames of a clip a model sees.
    """

    stills: Pictures
    places: Int[np.ndarray, "C frames"]
    questions: list[list[Question]]
    frames: int = LENGTH

    def seen(self, frames: int) -> "Clips":
        """The same clips, fewer frames of each seen."""
        return replace(self, frames=frames)

    def batch(self, rows: list[int]) -> list[Float[Tensor, "BF N D"] | None]:
        """Hidden states of the frames seen of some clips, frame by frame, by layer."""
        shown = np.linspace(0, LENGTH - 1, self.frames).round().astype(int)
        return self.stills.batch(self.places[rows][:, shown].reshape(-1).tolist())

    def of(self, task: str) -> list[int]:
        """The numbers of a task's clips: all, for there is one task."""
        return list(range(len(self.questions)))


def clips(tower: Any, split: str, count: int, folder: Path) -> Clips:
    """The clips of a split, encoded if they are not on disk yet; batches go where the tower is.

    Args:
        tower: the frozen vision tower.
        split: "train", "val" or "test".
        count: clips.
        folder: where their features are kept.
    """
    samples = [make("video", split, index, seed=SEED, length=LENGTH) for index in range(count)]
    frames, places = stills(samples)
    path = folder / f"clips-{split}-{count}.npy"
    if not path.exists():
        encode(tower, [samples[row].frame(number) for row, number in frames], path)
    shown = Pictures(np.load(path, mmap_mode="r"), [], tower.device)
    return Clips(shown, places, [questions_of(sample) for sample in samples])


def stills(samples: list[Sample]) -> tuple[list[tuple[int, int]], Int[np.ndarray, "C frames"]]:
    """The frames (clip, number) that differ, and which of them each frame is."""
    known: dict[tuple, int] = {}
    first: list[tuple[int, int]] = []
    places = np.empty((len(samples), LENGTH), dtype=np.int64)
    for row, sample in enumerate(samples):
        for number, marks in enumerate(sample.marks):
            key = (row, *((mark.character, mark.column, mark.row) for mark in marks))
            if key not in known:
                known[key] = len(first)
                first.append((row, number))
            places[row, number] = known[key]
    return first, places
