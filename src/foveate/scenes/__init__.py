"""Scenes: pictures, clips, questions and answers made here from real handwriting and photos.

Nothing is downloaded. The same (task, split, index, seed) always gives the same sample, independently of
all others. Train, val and test share no handwritten glyph and no photo pixel, and each has words of its
own.

They are made to be learnt on two CPU cores in two hours: pictures are 144x144 (12x12 patches of 12
pixels), characters start at cells of that grid with a jitter of one or two pixels, so that a patch always
sees the same part of a digit, and digits and colours of a scene are distinct. Digits as objects cover 4x4
patches, as objects in photos cover many; written digits cover 2x2 and letters 2x1, so that text has no
patch to spare. This is a test bed for visual token reduction with known answers, not a benchmark of
vision.

    >>> from foveate.scenes import make, questions
    >>> sample = make("reasoning", "test", 0)
    >>> for images, question, answer, family in questions("ocr", "test", 100): ...

`foveate.scenes.episodes` makes screens that follow each other, with questions about earlier ones.

Four more tasks are drawn at any size, for models that read print, and answered in a word or a sentence:
documents, charts, screens, and texture, where the background matters.

    >>> from foveate.scenes import draw
    >>> receipt_or_page = draw("documents", "train", 0, size=448)
    >>> for images, question, answer, family in questions("charts", "test", 100, size=448): ...
"""

from collections.abc import Collection, Iterator

import numpy as np
from PIL import Image

from foveate.errors import InputError
from foveate.scenes import charts, clips, documents, reading, reasoning, screens, texture
from foveate.scenes.drawn import LARGEST, SMALLEST, Drawn
from foveate.scenes.sample import SIZE, SPLITS, Mark, Question, Sample, Scene

TASKS = {"reasoning": reasoning.make, "ocr": reading.make, "video": clips.make}
DRAWN = {
    "documents": documents.make,
    "charts": charts.make,
    "screens": screens.make,
    "texture": texture.make,
}
DRAWN_SIZE = 448  # pixels, unless another is asked for
_STREAM = 200  # of random numbers, none of another task's

__all__ = [
    "DRAWN",
    "SPLITS",
    "TASKS",
    "Drawn",
    "Mark",
    "Question",
    "Sample",
    "Scene",
    "draw",
    "make",
    "questions",
    "scene",
]


def make(task: str, split: str, index: int, seed: int = 0, length: int | None = None) -> Sample:
    """Sample `index` of a split.

    Args:
        task: "reasoning", "ocr" or "video".
        split: "train", "val" or "test".
        index: any number from 0; splits are endless.
        seed: another seed gives another, disjoint, endless split.
        length: frames of the clip, 4 to 16; by default drawn. Only for video.
    """
    _check(task, TASKS, split, index)
    rng = np.random.default_rng([seed, list(TASKS).index(task), SPLITS.index(split), index])
    if length is None:
        return TASKS[task](split, index, rng)
    if task != "video" or not 4 <= length <= 16:
        raise InputError(f"length is for video and from 4 to 16; got {length} for {task}")
    return clips.make(split, index, rng, length=length)


def draw(task: str, split: str, index: int, seed: int = 0, size: int = DRAWN_SIZE) -> Drawn:
    """Picture `index` of a split, of a task that is drawn at any size.

    Args:
        task: "documents", "charts", "screens" or "texture".
        split: "train", "val" or "test".
        index: any number from 0; splits are endless.
        seed: another seed gives another, disjoint, endless split.
        size: side of the picture in pixels, 144 to 2048; a larger one shows more.

    Raises:
        InputError: another task, split, index or size.
    """
    _check(task, DRAWN, split, index)
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"size must be from {SMALLEST} to {LARGEST}; got {size}")
    stream = _STREAM + list(DRAWN).index(task)
    rng = np.random.default_rng([seed, stream, SPLITS.index(split), index])
    return DRAWN[task](split, index, rng, size)


def scene(task: str, split: str, index: int, seed: int = 0, size: int | None = None) -> Scene:
    """Scene `index` of a split, of any task.

    Args:
        task: one of `TASKS` or `DRAWN`.
        split: "train", "val" or "test".
        index: any number from 0.
        seed: of the split.
        size: side of the picture, as in `draw`; None for the task's own, which is all that `TASKS` have.

    Raises:
        InputError: another task, split, index or size.
    """
    _check(task, (*TASKS, *DRAWN), split, index)
    if task in DRAWN:
        return draw(task, split, index, seed, size or DRAWN_SIZE)
    if size not in (None, SIZE):
        raise InputError(f"size is for {', '.join(DRAWN)}; got {size} for {task}")
    return make(task, split, index, seed)


def _check(task: str, tasks: Collection[str], split: str, index: int) -> None:
    """Whether there is such a scene.

    Raises:
        InputError: there is none.
    """
    for name, value, allowed in (("task", task, tasks), ("split", split, SPLITS)):
        if value not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    if index < 0:
        raise InputError(f"index must be 0 or more; got {index}")


def questions(
    task: str, split: str, n: int, seed: int = 0, size: int | None = None
) -> Iterator[tuple[list[Image.Image], str, str, str]]:
    """`n` questions, one for each scene, of evenly drawn families; a random guess does badly.

    Args:
        task: one of `TASKS` or `DRAWN`.
        split: "train", "val" or "test".
        n: how many.
        seed: of the split.
        size: of the pictures, see `scene`.

    Yields:
        (images, question, answer, family): one image, or the frames of a clip.
    """
    for index in range(n):
        shown = scene(task, split, index, seed, size)
        asked = one_question(shown, seed)
        yield shown.images(), asked.text, asked.answer, asked.family


def one_question(sample: Scene, seed: int = 0) -> Question:
    """The question that `questions` asks about a scene: a family is drawn, then one of it."""
    rng = np.random.default_rng([seed, sample.index, 1])
    asked = sample.ask(rng)
    families = sorted({question.family for question in asked})
    family = families[rng.integers(len(families))]
    pool = [question for question in asked if question.family == family]
    return pool[rng.integers(len(pool))]
