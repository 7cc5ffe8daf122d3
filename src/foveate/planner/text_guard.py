"""Is there text to be read? A cheap look at the pixels, for `task="auto"`.

Characters are small marks of one colour that stand out from what surrounds them; text is some of them
side by side, alike in height and colour. A page of print, a sign and a row of digits are; leaves are not
alike in colour, and one large digit has no neighbours. A guard, no reader: writing whose letters touch is
missed, and rows of windows or tiles in a photo pass for text.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from foveate.pictures import to_rgb
from foveate.planner.degradation import Task

CONTRAST = 64  # of 255, to the surroundings
ALIKE = 40.0  # colour distance within a line
LEAST = 3  # characters of a line
LEVEL = 0.25  # of the height, how far characters of a line may be off it
SMALLEST = 5  # pixels of a character's height
MOST = 3000  # marks that are looked at
LARGEST_SIDE = 1280  # pixels; larger pictures are averaged down by a whole number


def characters(image: Any) -> int:
    """How many characters stand in lines of at least 3.

    Args:
        image: a PIL image or an array, as of `pictures.to_rgb`.

    Raises:
        InputError: no picture, or as of `to_rgb`.
    """
    marks = _marks(_pixels(image))
    if len(marks) < LEAST:
        return 0
    _, line = connected_components(_follows(marks), directed=False)
    sizes = np.bincount(line)
    return int(sizes[sizes >= LEAST].sum())


def task_of(images: Iterable[Any]) -> Task:
    """Task of a question about these pictures: "ocr" where any holds a line of characters."""
    return "ocr" if any(characters(image) >= LEAST for image in images) else "reasoning"


def _follows(marks: np.ndarray) -> np.ndarray:
    """(M, M), whether mark i is the next character after mark j in a line."""
    top, left, height, width = (marks[:, column] for column in range(4))
    colour = marks[:, 4:]
    tall = np.maximum(height[:, None], height)
    middle = top + height / 2
    gap = left[:, None] - (left + width)
    return (
        (np.abs(middle[:, None] - middle) <= LEVEL * tall)
        & (np.minimum(height[:, None], height) >= 0.5 * tall)
        & (gap >= -0.3 * tall)
        & (gap <= 1.2 * tall)
        & (np.linalg.norm(colour[:, None] - colour, axis=-1) <= ALIKE)
    )


def _pixels(image: Any) -> np.ndarray:
    pixels = np.asarray(to_rgb(image), dtype=np.float32)
    by = -(-max(pixels.shape[:2]) // LARGEST_SIDE)
    tall, wide = (length // by * by for length in pixels.shape[:2])
    if by == 1 or not (tall and wide):
        return pixels
    return pixels[:tall, :wide].reshape(tall // by, by, wide // by, by, 3).mean((1, 3))


def _marks(pixels: np.ndarray) -> np.ndarray:
    """(M, 7): top, left, height, width and colour of small regions that stand out, from the left."""
    side = min(pixels.shape[:2])
    stride = max(2, side // 72)  # what surrounds a mark needs no detail
    window = max(3, side // (12 * stride)) * 2 + 1
    around = ndimage.median_filter(pixels[::stride, ::stride], size=(window, window, 1))
    around = around.repeat(stride, 0).repeat(stride, 1)[: pixels.shape[0], : pixels.shape[1]]
    contrast = np.abs(pixels - around).max(-1)
    found: Any = ndimage.label(contrast > CONTRAST, np.ones((3, 3)))
    labels = found[0]
    marks = []
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        rows, columns = place
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not (SMALLEST <= height <= side / 5 and 2 <= width <= 1.6 * height):
            continue
        inside = labels[place] == number
        if not 0.12 <= inside.mean() <= 0.98:
            continue
        strong = inside & (contrast[place] >= np.median(contrast[place][inside]))
        colour = np.median(pixels[place][strong], axis=0)
        marks.append((rows.start, columns.start, height, width, *colour))
    return np.array(sorted(marks, key=lambda mark: mark[1])[:MOST], dtype=float).reshape(-1, 7)
