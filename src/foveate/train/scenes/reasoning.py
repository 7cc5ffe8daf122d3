"""Pictures of one to five handwritten digits, each in its own colour, and questions about them.

No two digits of a picture share a digit, a colour, a column of patches or a row, so every question
has one answer.
"""

import numpy as np

from foveate.train.scenes.ink import digit_ink
from foveate.train.scenes.photos import background
from foveate.train.scenes.phrasing import phrase
from foveate.train.scenes.sample import COLOUR_NAMES, DIGITS, GRID, Mark, Question, Sample

MOST = 5
JITTER = 2


def make(split: str, index: int, rng: np.random.Generator) -> Sample:
    """Draw the picture's plan from `rng`."""
    count = int(rng.integers(1, MOST + 1))
    digits = rng.permutation(10)[:count]
    colours = rng.permutation(len(COLOUR_NAMES))[:count]
    # Sorted starts out of a grid shortened by one cell a digit, stretched again: two-cell digits
    # that never overlap.
    columns = np.sort(rng.permutation(GRID - count)[:count]) + np.arange(count)
    rows = rng.permutation(GRID - 1)[:count]
    rank_y = np.argsort(np.argsort(rows))
    marks = []
    for place in range(count):
        digit = DIGITS[digits[place]]
        pool = digit_ink(split)[digit]
        marks.append(
            Mark(
                character=digit,
                colour=COLOUR_NAMES[colours[place]],
                column=int(columns[place]),
                row=int(rows[place]),
                jitter=jitter(rng),
                ink=pool[rng.integers(len(pool))],
                rank_x=place,
                rank_y=int(rank_y[place]),
            )
        )
    drawn = tuple(marks)
    return Sample(
        task="reasoning",
        split=split,
        index=index,
        background=background(split, rng),
        marks=(drawn,),
        ask=lambda asking: questions(drawn, asking),
    )


def jitter(rng: np.random.Generator, across: int = JITTER, down: int = JITTER) -> tuple[int, int]:
    """A shift of at most `across` and `down` pixels."""
    return int(rng.integers(-across, across + 1)), int(rng.integers(-down, down + 1))


def questions(marks: tuple[Mark, ...], rng: np.random.Generator) -> list[Question]:
    """Every question that this picture answers, each with a phrasing drawn from `rng`."""
    asked = [Question(phrase("count", rng), str(len(marks)), "count")]
    for mark in marks:
        asked.append(Question(phrase("colour", rng, digit=mark.character), mark.colour, "colour"))
        asked.append(Question(phrase("digit", rng, colour=mark.colour), mark.character, "digit"))
    asked += exists(marks, rng)
    if len(marks) > 1:
        lowest_first = sorted(marks, key=lambda mark: mark.row)
        left_first = sorted(marks, key=lambda mark: mark.column)
        for family, mark in (
            ("leftmost", left_first[0]),
            ("rightmost", left_first[-1]),
            ("top", lowest_first[0]),
            ("bottom", lowest_first[-1]),
            ("largest", max(marks, key=lambda mark: mark.character)),
        ):
            asked.append(Question(phrase(family, rng), mark.character, family))
    return asked


def exists(marks: tuple[Mark, ...], rng: np.random.Generator) -> list[Question]:
    """Two questions whether something is there: as likely yes as no."""
    shown_digits = [mark.character for mark in marks]
    shown_colours = [mark.colour for mark in marks]
    asked = []
    for family, shown, every in (
        ("exists_digit", shown_digits, tuple(DIGITS)),
        ("exists_colour", shown_colours, COLOUR_NAMES),
    ):
        there = rng.random() < 0.5
        pool = [value for value in every if (value in shown) == there]
        value = pool[rng.integers(len(pool))]
        asked.append(Question(phrase(family, rng, value=value), "yes" if there else "no", "exists"))
    return asked
