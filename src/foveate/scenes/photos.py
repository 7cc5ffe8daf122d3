"""Backgrounds: crops of real photos, dimmed, from separate areas for train, val and test.

Three photos come with packages: china.jpg and flower.jpg (scikit-learn), grace_hopper.jpg
(matplotlib). Each is cut from left to right into a training area (60 %), a validation area (20 %)
and a test area (20 %); no pixel is in two of them.
"""

from functools import cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from foveate.scenes.sample import SIZE
from foveate.scenes.sources import require

AREAS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}
BRIGHTNESS = (0.25, 0.3, 0.35, 0.4)
SHORT_SIDES = (160, 220)


def photos() -> list[UInt8[np.ndarray, "height width 3"]]:
    """The three photos."""
    samples = require("sklearn.datasets").load_sample_images().images
    path = require("matplotlib.cbook").get_sample_data("grace_hopper.jpg", asfileobj=False)
    return [*samples, np.asarray(Image.open(path).convert("RGB"))]


def area(width: int, split: str) -> tuple[int, int]:
    """First and one-past-last pixel column of `split` in a photo of `width`."""
    low, high = AREAS[split]
    return round(low * width), round(high * width)


@cache
def _sheets(split: str) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Every area of `split`, enlarged to a few sizes and dimmed to a few brightnesses."""
    sheets = []
    for photo in photos():
        low, high = area(photo.shape[1], split)
        part = Image.fromarray(photo[:, low:high])
        for short_side in SHORT_SIDES:
            scale = short_side / min(part.size)
            size = (round(part.width * scale), round(part.height * scale))
            pixels = np.asarray(part.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
            sheets += [(pixels * brightness).astype(np.uint8) for brightness in BRIGHTNESS]
    return sheets


def background(split: str, rng: np.random.Generator) -> UInt8[np.ndarray, "144 144 3"]:
    """A random dimmed crop of a photo, from the areas of `split`, mirrored half of the time."""
    sheets = _sheets(split)
    sheet = sheets[rng.integers(len(sheets))]
    y = rng.integers(sheet.shape[0] - SIZE + 1)
    x = rng.integers(sheet.shape[1] - SIZE + 1)
    crop = sheet[y : y + SIZE, x : x + SIZE]
    return crop[:, ::-1] if rng.random() < 0.5 else crop
