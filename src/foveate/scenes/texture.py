"""Texture: noise like a photo's in four quarters or three thirds, that differ in light, blur or pattern.

Nothing in such a picture is apart from its surroundings but a few specks of colour, and no question asks
about those: what matters is the background, of which every part looks like its neighbours.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from foveate.scenes.drawn import Drawn, Wording, ask, one, some
from foveate.scenes.grain import PATTERNS, noise, pattern, standard
from foveate.scenes.sample import COLOUR_NAMES, COLOURS, Question

QUARTERS = ("top left", "top right", "bottom left", "bottom right")
THIRDS = ("left", "middle", "right")
DARKEST, BRIGHTEST = 70, 185
CONTRAST = 20  # grey levels, of noise and of patterns

WORDINGS = {
    "blurred": Wording(
        ("which part is blurred?", "which part is out of focus?"), "the {answer} part is blurred."
    ),
    "brightest": Wording(
        ("which part is brightest?", "where is it brightest?"), "the {answer} part is brightest."
    ),
    "darkest": Wording(
        ("which part is darkest?", "where is it darkest?"), "the {answer} part is darkest."
    ),
    "pattern": Wording(
        ("which pattern is at the {place}?", "what is the pattern of the {place} part?"),
        "the pattern of the {place} part is {answer}.",
    ),
    "where": Wording(
        ("where is the pattern {name}?", "which part has the pattern {name}?"),
        "the {answer} part has the pattern {name}.",
    ),
}


@dataclass(frozen=True)
class Part:
    """One part of the picture.

    Attributes:
        place: its name.
        light: its mean grey level.
        is_blurred: whether its noise is blurred.
        pattern: of `grain.PATTERNS`.
    """

    place: str
    light: float
    is_blurred: bool
    pattern: str


@dataclass(frozen=True)
class Surface:
    """What the picture shows.

    Attributes:
        parts: its quarters or thirds.
        tint: by how much each colour is stronger.
        slope: of the noise, see `grain.noise`.
        specks: of each its colour and where it is, x and y as shares of the picture.
        seed: of the noise.
    """

    parts: tuple[Part, ...]
    tint: tuple[float, ...]
    slope: float
    specks: tuple[tuple[str, float, float], ...]
    seed: int


def make(split: str, index: int, rng: np.random.Generator, size: int) -> Drawn:
    """Draw the picture's plan from `rng`."""
    # so that each of the seven names is as likely
    places = QUARTERS if rng.integers(7) < len(QUARTERS) else THIRDS
    levels = rng.permutation(np.linspace(DARKEST, BRIGHTEST, len(places)))
    blurred = int(rng.integers(len(places))) if rng.integers(2) else None
    patterns = (
        ["plain"] * len(places) if blurred is not None else some(tuple(PATTERNS), rng, len(places))
    )
    parts = tuple(
        Part(place, float(levels[number] + rng.uniform(-8, 8)), number == blurred, patterns[number])
        for number, place in enumerate(places)
    )
    specks = tuple(
        (one(COLOUR_NAMES, rng), float(rng.uniform(0.05, 0.95)), float(rng.uniform(0.05, 0.95)))
        for _ in range(rng.integers(2, 5))
    )
    tint = tuple(float(share) for share in rng.uniform(0.85, 1.15, 3))
    plan = Surface(parts, tint, float(rng.uniform(0.7, 1.0)), specks, int(rng.integers(2**32)))
    return Drawn("texture", split, index, partial(questions, plan), size, plan, paint)


def questions(plan: Surface, rng: np.random.Generator) -> list[Question]:
    """Questions of every family that this picture answers, at most `drawn.MANY` of each."""
    by_light = sorted(plan.parts, key=lambda part: part.light)
    asked = [
        ask(WORDINGS, "darkest", by_light[0].place, rng),
        ask(WORDINGS, "brightest", by_light[-1].place, rng),
    ]
    blurred = [part.place for part in plan.parts if part.is_blurred]
    if blurred:
        return [*asked, ask(WORDINGS, "blurred", blurred[0], rng)]
    for part in some(plan.parts, rng):
        asked.append(ask(WORDINGS, "pattern", part.pattern, rng, place=part.place))
        asked.append(ask(WORDINGS, "where", part.place, rng, name=part.pattern))
    return asked


def box(place: str, size: int) -> tuple[slice, slice]:
    """The rows and columns of a part."""
    if place in THIRDS:
        number = THIRDS.index(place)
        return slice(0, size), slice(number * size // 3, (number + 1) * size // 3)
    halves = slice(0, size // 2), slice(size // 2, size)
    row, column = divmod(QUARTERS.index(place), 2)
    return halves[row], halves[column]


def paint(plan: Surface, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The picture as RGB pixels."""
    plane = noise(size, size, plan.slope, np.random.default_rng(plan.seed))
    grey = np.empty((size, size), np.float32)
    for part in plan.parts:
        place = box(part.place, size)
        grey[place] = part.light + CONTRAST * _grained(plane[place], part, size)
    pixels = np.clip(grey[..., None] * np.asarray(plan.tint, np.float32), 0, 255).astype(np.uint8)
    return _specked(pixels, plan, size)


def _grained(plane: np.ndarray, part: Part, size: int) -> np.ndarray:
    """Noise and pattern of a part; noise that is blurred has as much contrast as other noise."""
    if part.is_blurred:
        return standard(gaussian_filter(plane, size / 72))
    grain = standard(plane)
    if part.pattern == "plain":
        return grain
    return 0.6 * grain + pattern(part.pattern, *plane.shape, period=size / 12)


def _specked(pixels: np.ndarray, plan: Surface, size: int) -> np.ndarray:
    """Specks of colour over the picture."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    radius = size / 40
    for colour, *shares in plan.specks:
        x, y = (share * size for share in shares)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), COLOURS[colour])
    return np.array(image)
