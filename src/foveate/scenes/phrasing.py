"""How each family's questions are worded. The tokenizer is trained on these."""

import numpy as np

TEMPLATES = {
    "count": ("how many digits are there?", "count the digits."),
    "colour": ("what colour is the {digit}?", "which colour is the {digit}?"),
    "digit": ("which digit is {colour}?", "what is the {colour} digit?"),
    "leftmost": ("what is the leftmost digit?", "which digit is furthest left?"),
    "rightmost": ("what is the rightmost digit?", "which digit is furthest right?"),
    "top": ("what is the top digit?", "which digit is at the top?"),
    "bottom": ("what is the bottom digit?", "which digit is at the bottom?"),
    "largest": ("what is the largest digit?", "which digit is the largest?"),
    "exists_digit": ("is there any {value}?", "do you see any {value}?"),
    "exists_colour": ("is there any {value} digit?", "do you see any {value} digit?"),
    "number": ("what is the number?", "read the number."),
    "word": ("what is the word?", "read the word."),
    "coloured_word": ("what is the {colour} word?", "read the {colour} word."),
    "first": ("which digit appears first?", "what is the first digit to appear?"),
    "last": ("which digit appears last?", "what is the last digit to appear?"),
    "direction": ("which way does the {digit} move?", "in which direction does the {digit} move?"),
    "mover": ("which digit moves?", "what is the digit that moves?"),
    "different": ("how many different digits appear?", "count the different digits."),
    "needle": ("which digit flashes?", "which digit shows only for a moment?"),
    "needle_colour": ("what colour is the digit that flashes?", "which colour flashes?"),
}


def phrase(name: str, rng: np.random.Generator, **words: str) -> str:
    """One wording of the question `name`, with `words` filled in."""
    wordings = TEMPLATES[name]
    return wordings[rng.integers(len(wordings))].format(**words)
