"""Pictures of text: handwritten numbers, printed words, or both, each line in its own colour.

In training half of the printed lines are random letters, so that reading is learnt letter by
letter. In the other splits half of the words are ones that no training picture shows.
"""

import numpy as np

from foveate.scenes.ink import WRITING, digit_ink, letter_ink
from foveate.scenes.photos import background
from foveate.scenes.phrasing import ask
from foveate.scenes.reasoning import jitter
from foveate.scenes.sample import (
    COLOUR_NAMES,
    DIGITS,
    GRID,
    LETTERS,
    Mark,
    Question,
    Sample,
)
from foveate.scenes.words import TRAIN_WORDS, UNSEEN_WORDS

KINDS = (("number",), ("word",), ("number", "word"), ("word", "word"))


def make(split: str, index: int, rng: np.random.Generator) -> Sample:
    """Draw the picture's plan from `rng`."""
    kinds = KINDS[rng.integers(len(KINDS))]
    colours = [COLOUR_NAMES[place] for place in rng.permutation(len(COLOUR_NAMES))]
    # Two-cell lines that never overlap: sorted starts out of a shortened grid, stretched again.
    rows = np.sort(rng.permutation(GRID - len(kinds))[: len(kinds)]) + np.arange(len(kinds))
    lines = []
    for kind, colour, row in zip(rng.permutation(kinds), colours, rows, strict=False):
        text = _number(rng) if kind == "number" else _word(split, rng)
        lines.append((str(kind), text, _marks(text, colour, int(row), split, rng)))
    return Sample(
        task="ocr",
        split=split,
        index=index,
        background=background(split, rng),
        marks=(tuple(mark for _, _, marks in lines for mark in marks),),
        ask=lambda asking: _questions(lines, asking),
    )


def _number(rng: np.random.Generator) -> str:
    """A string of 3 to 6 digits; the first may be 0."""
    return "".join(DIGITS[digit] for digit in rng.integers(10, size=rng.integers(3, 7)))


def _word(split: str, rng: np.random.Generator) -> str:
    """A word that `split` may show; in training half of the time random letters."""
    pool = TRAIN_WORDS
    if rng.random() < 0.5:
        if split == "train":
            return "".join(LETTERS[letter] for letter in rng.integers(26, size=rng.integers(3, 9)))
        pool = UNSEEN_WORDS[split]
    return pool[rng.integers(len(pool))]


def _marks(
    text: str, colour: str, row: int, split: str, rng: np.random.Generator
) -> tuple[Mark, ...]:
    """The marks of one line of text, somewhere along `row`."""
    cells = WRITING if text[0] in DIGITS else 1
    start = int(rng.integers(GRID - cells * len(text) + 1))
    marks = []
    for place, character in enumerate(text):
        if character in DIGITS:
            pool = digit_ink(split, WRITING)[character]
            ink = pool[rng.integers(len(pool))]
        else:
            ink = letter_ink()[character]
        marks.append(
            Mark(
                character=character,
                colour=colour,
                column=start + cells * place,
                row=row,
                jitter=jitter(rng, across=1, down=2 if character in DIGITS else 1),
                ink=ink,
                rank_x=place,
            )
        )
    return tuple(marks)


def _questions(lines: list, rng: np.random.Generator) -> list[Question]:
    """One question a line; by its colour where the picture has two words."""
    words = sum(kind == "word" for kind, _, _ in lines)
    asked = []
    for kind, text, marks in lines:
        if kind == "number":
            asked.append(ask("number", text, rng))
            continue
        wording = "coloured_word" if words > 1 else "word"
        family = "word_unseen" if any(text in pool for pool in UNSEEN_WORDS.values()) else "word"
        asked.append(ask(wording, text, rng, family, colour=marks[0].colour))
    return asked
