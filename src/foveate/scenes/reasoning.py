"""Pictures of one to four handwritten digits, each in its own colour, and questions about them.

No two digits of a picture share a digit, a colour, a first column of patches or a first row, so
every question has one answer.
"""

import numpy as np

from foveate.scenes.ink import FIGURE, digit_ink
from foveate.scenes.photos import background
from foveate.scenes.phrasing import ask
from foveate.scenes.sample import COLOUR_NAMES, DIGITS, GRID, Mark, Question, Sample

MOST = 4
PLACES = GRID - FIGURE + 1
JITTER = 2


def make(
    split: str, index: int, rng: np.random.Generator, fewest: int = 1, most: int = MOST
) -> Sample:
    """Draw the picture's plan from `rng`: from `fewest` to `most` digits, of which 5 find room."""
    count = int(rng.integers(fewest, most + 1))
    digits = rng.permutation(10)[:count]
    colours = rng.permutation(len(COLOUR_NAMES))[:count]
    places = scatter(count, rng)
    rank_x, rank_y = (np.argsort(np.argsort(starts)) for starts in np.transpose(places))
    marks = []
    for number, (column, row) in enumerate(places):
        digit = DIGITS[digits[number]]
        pool = digit_ink(split, FIGURE)[digit]
        marks.append(
            Mark(
                character=digit,
                colour=COLOUR_NAMES[colours[number]],
                column=column,
                row=row,
                jitter=jitter(rng),
                ink=pool[rng.integers(len(pool))],
                rank_x=int(rank_x[number]),
                rank_y=int(rank_y[number]),
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


def scatter(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """First cells (column, row) of `count` figures that do not overlap, no two equal in either."""
    while True:
        starts = np.stack(
            [rng.permutation(PLACES)[:count], rng.permutation(PLACES)[:count]], axis=1
        )
        apart = np.abs(starts[:, None] - starts).max(axis=-1) >= FIGURE
        if apart.sum() == count * (count - 1):
            return [(int(column), int(row)) for column, row in starts]


def jitter(rng: np.random.Generator, across: int = JITTER, down: int = JITTER) -> tuple[int, int]:
    """A shift of at most `across` and `down` pixels."""
    return int(rng.integers(-across, across + 1)), int(rng.integers(-down, down + 1))


def questions(marks: tuple[Mark, ...], rng: np.random.Generator) -> list[Question]:
    """Every question that this picture answers, each with a phrasing drawn from `rng`."""
    asked = [ask("count", str(len(marks)), rng)]
    for mark in marks:
        asked.append(ask("colour", mark.colour, rng, digit=mark.character))
        asked.append(ask("digit", mark.character, rng, colour=mark.colour))
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
            asked.append(ask(family, mark.character, rng))
    return asked


def exists(marks: tuple[Mark, ...], rng: np.random.Generator) -> list[Question]:
    """Two questions whether something is there: as likely yes as no."""
    shown_digits = [mark.character for mark in marks]
    shown_colours = [mark.colour for mark in marks]
    asked = []
    for wording, shown, every in (
        ("exists_digit", shown_digits, tuple(DIGITS)),
        ("exists_colour", shown_colours, COLOUR_NAMES),
    ):
        there = rng.random() < 0.5
        pool = [value for value in every if (value in shown) == there]
        value = pool[rng.integers(len(pool))]
        answer, state = ("yes", "") if there else ("no", "not ")
        asked.append(ask(wording, answer, rng, "exists", value=value, state=state))
    return asked
