"""Scenes drawn at any size: what they show is planned first, and painted when it is looked at.

Letters grow with the square root of the picture: a larger picture holds more lines, and its print is
smaller beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from foveate.scenes.sample import Question, Scene

SMALLEST, LARGEST = 144, 2048
MANY = 3  # questions of a family and picture
T = TypeVar("T")


@dataclass(frozen=True)
class Drawn(Scene):
    """A picture of one of the tasks `documents`, `charts`, `screens` and `texture`.

    Attributes:
        size: its side in pixels.
        plan: what it shows, a dataclass of the task's module.
        paint: function of a plan and a size that gives the picture.
    """

    size: int
    plan: Any
    paint: Callable[[Any, int], UInt8[np.ndarray, "size size 3"]] = field(repr=False)

    def frame(self, number: int) -> UInt8[np.ndarray, "size size 3"]:
        """The picture as RGB pixels; there is only frame 0."""
        return self.paint(self.plan, self.size)


@dataclass(frozen=True)
class Wording:
    """How the questions of a family are asked, and answered in a sentence.

    Attributes:
        questions: texts with fields in braces; one is drawn.
        sentence: the same fields, and {answer}.
    """

    questions: tuple[str, ...]
    sentence: str


def ask(
    wordings: Mapping[str, Wording],
    family: str,
    answer: str,
    rng: np.random.Generator,
    **words: str,
) -> Question:
    """The question of a family with `words` filled in."""
    wording = wordings[family]
    text = one(wording.questions, rng).format(**words)
    sentence = wording.sentence.format(answer=answer, **words)
    return Question(text, answer, family, sentence[0].upper() + sentence[1:])


def some(values: Sequence[T], rng: np.random.Generator, most: int = MANY) -> list[T]:
    """At most `most` of the values, drawn."""
    return [values[place] for place in rng.permutation(len(values))[:most]]


def one(values: Sequence[T], rng: np.random.Generator) -> T:
    """One of the values, drawn."""
    return values[int(rng.integers(len(values)))]
