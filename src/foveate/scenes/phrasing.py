"""How questions about characters are worded and answered; foveate-mini's tokenizer learns these."""

from dataclasses import replace

import numpy as np

from foveate.scenes import drawn
from foveate.scenes.drawn import Wording
from foveate.scenes.sample import Question

WORDINGS = {
    "count": Wording(
        ("how many digits are there?", "count the digits."), "the number of digits is {answer}."
    ),
    "colour": Wording(
        ("what colour is the {digit}?", "which colour is the {digit}?"), "the {digit} is {answer}."
    ),
    "digit": Wording(
        ("which digit is {colour}?", "what is the {colour} digit?"),
        "the {colour} digit is {answer}.",
    ),
    "leftmost": Wording(
        ("what is the leftmost digit?", "which digit is furthest left?"),
        "the leftmost digit is {answer}.",
    ),
    "rightmost": Wording(
        ("what is the rightmost digit?", "which digit is furthest right?"),
        "the rightmost digit is {answer}.",
    ),
    "top": Wording(
        ("what is the top digit?", "which digit is at the top?"), "the top digit is {answer}."
    ),
    "bottom": Wording(
        ("what is the bottom digit?", "which digit is at the bottom?"),
        "the bottom digit is {answer}.",
    ),
    "largest": Wording(
        ("what is the largest digit?", "which digit is the largest?"),
        "the largest digit is {answer}.",
    ),
    "exists_digit": Wording(
        ("is there any {value}?", "do you see any {value}?"), "{answer}, {value} is {state}there."
    ),
    "exists_colour": Wording(
        ("is there any {value} digit?", "do you see any {value} digit?"),
        "{answer}, a digit in {value} is {state}there.",
    ),
    "number": Wording(("what is the number?", "read the number."), "the number is {answer}."),
    "word": Wording(("what is the word?", "read the word."), "the word is {answer}."),
    "coloured_word": Wording(
        ("what is the {colour} word?", "read the {colour} word."), "the {colour} word is {answer}."
    ),
    "first": Wording(
        ("which digit appears first?", "what is the first digit to appear?"),
        "the first digit to appear is {answer}.",
    ),
    "last": Wording(
        ("which digit appears last?", "what is the last digit to appear?"),
        "the last digit to appear is {answer}.",
    ),
    "direction": Wording(
        ("which way does the {digit} move?", "in which direction does the {digit} move?"),
        "the {digit} moves {answer}.",
    ),
    "mover": Wording(
        ("which digit moves?", "what is the digit that moves?"), "the digit that moves is {answer}."
    ),
    "different": Wording(
        ("how many different digits appear?", "count the different digits."),
        "the number of different digits is {answer}.",
    ),
    "needle": Wording(
        ("which digit flashes?", "which digit shows only for a moment?"),
        "the digit that flashes is {answer}.",
    ),
    "needle_colour": Wording(
        ("what colour is the digit that flashes?", "which colour flashes?"),
        "the digit that flashes is {answer}.",
    ),
}


def ask(
    wording: str, answer: str, rng: np.random.Generator, family: str = "", **words: str
) -> Question:
    """The question `wording` with `words` filled in.

    Args:
        wording: a name of `WORDINGS`.
        answer: as short as can be.
        rng: draws one of the texts.
        family: what kind of question it is; by default the wording's name.
        words: what its fields are filled with.
    """
    asked = drawn.ask(WORDINGS, wording, answer, rng, **words)
    return replace(asked, family=family or wording)
