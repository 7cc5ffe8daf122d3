"""The characters that are drawn: real handwritten digits, and printed capital letters.

Digits are scikit-learn's `load_digits` (1,797 handwritten digits of 8x8 pixels), enlarged to a
canvas of a few patches: `FIGURE` where a digit is a thing in a picture, `WRITING` where it is part
of a written number. They are split by glyph: within each digit, every tenth pair of glyphs is kept for
validation and for test, so no test glyph is ever seen in training. Training glyphs are also
turned, sheared and scaled a little, a fixed number of times each. Letters are matplotlib's DejaVu
Sans Mono on a canvas of 12 wide, 24 high.
"""

from functools import cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from foveate.scenes.sample import DIGITS, LETTERS, PATCH
from foveate.scenes.sources import require

VARIANTS = 8
LETTER_POINTS = 18
WRITING, FIGURE = 2, 4


def split_of(number: int) -> str:
    """The split of the `number`-th glyph of its digit: 7 of 10 train, 1 val, 2 test."""
    return {7: "val", 8: "test", 9: "test"}.get(number % 10, "train")


@cache
def digit_ink(split: str, cells: int) -> dict[str, list[Float[np.ndarray, "side side"]]]:
    """All ink of each digit in `split`, on a canvas of `cells` x `cells` patches."""
    bunch = require("sklearn.datasets").load_digits()
    rng = np.random.default_rng(7)
    pools: dict[str, list[np.ndarray]] = {digit: [] for digit in DIGITS}
    for digit in DIGITS:
        glyphs = bunch.images[bunch.target == int(digit)]
        for number, glyph in enumerate(glyphs):
            if split_of(number) != split:
                continue
            pools[digit].append(_enlarge(glyph, cells, fill=22 / 24, turn=0.0, shear=0.0))
            for _ in range(VARIANTS if split == "train" else 0):
                fill, turn, shear = (
                    rng.integers(19, 25) / 24,
                    rng.normal(0, 0.12),
                    rng.normal(0, 0.1),
                )
                pools[digit].append(_enlarge(glyph, cells, fill=fill, turn=turn, shear=shear))
    return pools


@cache
def letter_ink() -> dict[str, Float[np.ndarray, "24 12"]]:
    """The ink of each capital letter."""
    path = require("matplotlib.font_manager").findfont("DejaVu Sans Mono")
    font = ImageFont.truetype(path, LETTER_POINTS)
    ink = {}
    for letter in LETTERS:
        canvas = Image.new("L", (PATCH, 2 * PATCH))
        ImageDraw.Draw(canvas).text((PATCH / 2, PATCH), letter, fill=255, font=font, anchor="mm")
        ink[letter] = np.asarray(canvas, dtype=np.float32) / 255
    return ink


def _enlarge(
    glyph: Float[np.ndarray, "8 8"], cells: int, fill: float, turn: float, shear: float
) -> Float[np.ndarray, "side side"]:
    """The 8x8 glyph drawn in the middle of a canvas.

    Args:
        glyph: grey values from 0 to 16.
        cells: side of the canvas in patches.
        fill: share of that side that the glyph takes.
        turn: rotation in radians.
        shear: horizontal slant, pixels per pixel.
    """
    side = cells * PATCH
    scale, middle = 8 / (fill * side), (side - 1) / 2
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]])
    shift = 4 - matrix @ np.array([middle + 0.5, middle + 0.5])
    padded = Image.fromarray(np.pad(glyph, 4).astype(np.float32), mode="F")
    (a, b), (d, e) = matrix
    drawn = padded.transform(
        (side, side),
        Image.Transform.AFFINE,
        (a, b, shift[0] + 4, d, e, shift[1] + 4),
        resample=Image.Resampling.BICUBIC,
    )
    return np.clip(np.asarray(drawn) / 11, 0, 1).astype(np.float32)
