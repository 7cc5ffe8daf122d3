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
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from foveate.errors import InputError
from foveate.scenes import clips, reading, reasoning
from foveate.scenes.sample import SPLITS, Mark, Question, Sample

TASKS = {"reasoning": reasoning.make, "ocr": reading.make, "video": clips.make}

__all__ = ["SPLITS", "TASKS", "Mark", "Question", "Sample", "make", "questions"]


def make(task: str, split: str, index: int, seed: int = 0, length: int | None = None) -> Sample:
    """Sample `index` of a split.

    Args:
        task: "reasoning", "ocr" or "video".
        split: "train", "val" or "test".
        index: any number from 0; splits are endless.
        seed: another seed gives another, disjoint, endless split.
        length: frames of the clip, 4 to 16; by default drawn. Only for video.
    """
    for name, value, allowed in (("task", task, tuple(TASKS)), ("split", split, SPLITS)):
        if value not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    if index < 0:
        raise InputError(f"index must be 0 or more; got {index}")
    rng = np.random.default_rng([seed, list(TASKS).index(task), SPLITS.index(split), index])
    if length is None:
        return TASKS[task](split, index, rng)
    if task != "video" or not 4 <= length <= 16:
        raise InputError(f"length is for video and from 4 to 16; got {length} for {task}")
    return clips.make(split, index, rng, length=length)


def questions(
    task: str, split: str, n: int, seed: int = 0
) -> Iterator[tuple[list[Image.Image], str, str, str]]:
    """`n` questions, one for each sample, of evenly drawn families; a random guess does badly.

    Yields:
        (images, question, answer, family): one image, or the frames of a clip.
    """
    for index in range(n):
        sample = make(task, split, index, seed=seed)
        asked = one_question(sample, seed)
        yield sample.images(), asked.text, asked.answer, asked.family


def one_question(sample: Sample, seed: int = 0) -> Question:
    """The question that `questions` asks about a sample: a family is drawn, then one of it."""
    rng = np.random.default_rng([seed, sample.index, 1])
    asked = sample.ask(rng)
    families = sorted({question.family for question in asked})
    family = families[rng.integers(len(families))]
    pool = [question for question in asked if question.family == family]
    return pool[rng.integers(len(pool))]
