"""What one drawn sample is: pictures or frames, what was drawn on them, questions and answers.

Coordinates. A frame is SIZE x SIZE pixels, cut into GRID x GRID patches of PATCH pixels. A `Mark`
is one drawn character; it covers whole cells of that grid, and is drawn there with a jitter of a
pixel or two.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

SIZE = 144
PATCH = 12
GRID = SIZE // PATCH
SPLITS = ("train", "val", "test")

DIGITS = "0123456789"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHARACTERS = DIGITS + LETTERS

COLOURS = {
    "red": (255, 50, 50),
    "green": (50, 220, 60),
    "blue": (70, 110, 255),
    "yellow": (255, 235, 40),
    "cyan": (40, 235, 240),
    "pink": (255, 70, 230),
    "white": (255, 255, 255),
    "orange": (255, 145, 20),
}
COLOUR_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Mark:
    """One drawn character.

    Attributes:
        character: `0`-`9` or `A`-`Z`.
        colour: a name of `COLOURS`.
        column, row: the top left cell, in patches.
        jitter: how far the ink is shifted from that cell, (x, y) in pixels.
        ink: how much of the colour each pixel takes, 0 to 1; its size says how many cells it
            covers.
        rank_x: its place from the left in its picture or in its line of text, from 0; None in
            clips.
        rank_y: its place from the top in its picture, from 0; None in clips and lines of text.
    """

    character: str
    colour: str
    column: int
    row: int
    jitter: tuple[int, int]
    ink: Float[np.ndarray, "height width"] = field(repr=False)
    rank_x: int | None = None
    rank_y: int | None = None


@dataclass(frozen=True)
class Question:
    """A question with its one right answer.

    Attributes:
        text: the question.
        answer: as short as can be.
        family: what kind of question it is.
        sentence: the answer as a whole sentence; "" where there is none.
    """

    text: str
    answer: str
    family: str
    sentence: str = ""


@dataclass(frozen=True)
class Scene:
    """What may be shown and asked about: one picture (one frame) or a clip (several).

    Attributes:
        task: its name.
        split: "train", "val" or "test".
        index: its number in the split.
        ask: function of a random generator: questions about this scene, with a phrasing drawn for each.
    """

    task: str
    split: str
    index: int
    ask: Callable[[np.random.Generator], list[Question]] = field(repr=False)

    @property
    def is_video(self) -> bool:
        """Whether this is a clip, to be shown to a model as a video."""
        return self.task == "video"

    @property
    def length(self) -> int:
        """Frames; a picture has one."""
        return 1

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Frame `number` as RGB pixels."""
        raise NotImplementedError

    def frames(self) -> UInt8[np.ndarray, "frames height width 3"]:
        """All frames as RGB pixels; a picture has one."""
        return np.stack([self.frame(number) for number in range(self.length)])

    def images(self) -> list[Image.Image]:
        """All frames as PIL images, what a processor takes."""
        return [Image.fromarray(pixels) for pixels in self.frames()]


@dataclass(frozen=True)
class Sample(Scene):
    """A scene of characters over a photo, drawn when asked for.

    Attributes:
        background: the dimmed photo under every frame.
        marks: what is drawn on each frame.
    """

    background: UInt8[np.ndarray, "144 144 3"] = field(repr=False)
    marks: tuple[tuple[Mark, ...], ...]

    @property
    def length(self) -> int:
        """Frames; a picture has one."""
        return len(self.marks)

    def frame(self, number: int) -> UInt8[np.ndarray, "144 144 3"]:
        """Frame `number` as RGB pixels."""
        pixels = self.background.copy()
        for mark in self.marks[number]:
            _paint(pixels, mark)
        return pixels

    def labels(self, number: int) -> dict[str, Int[np.ndarray, "144"]]:
        """What each patch of frame `number` shows.

        Returns:
            `character` (0 = background, 1 + place in CHARACTERS), `colour` (0 = none, 1 + place in
            COLOURS), `rank_x` and `rank_y` (0 = none, 1 + rank; -1 = not defined). Row-major over
            the patches.
        """
        planes = {
            name: np.zeros((GRID, GRID), dtype=np.int64)
            for name in ("character", "colour", "rank_x", "rank_y")
        }
        for mark in self.marks[number]:
            height, width = mark.ink.shape
            cells = np.s_[
                mark.row : mark.row + height // PATCH, mark.column : mark.column + width // PATCH
            ]
            planes["character"][cells] = 1 + CHARACTERS.index(mark.character)
            planes["colour"][cells] = 1 + COLOUR_NAMES.index(mark.colour)
            for name, rank in (("rank_x", mark.rank_x), ("rank_y", mark.rank_y)):
                planes[name][cells] = -1 if rank is None else 1 + rank
        return {name: plane.reshape(-1) for name, plane in planes.items()}


def _paint(pixels: UInt8[np.ndarray, "144 144 3"], mark: Mark) -> None:
    """Blend one mark's colour into `pixels`, in place, by its ink; kept inside the frame."""
    height, width = mark.ink.shape
    x = min(max(mark.column * PATCH + mark.jitter[0], 0), SIZE - width)
    y = min(max(mark.row * PATCH + mark.jitter[1], 0), SIZE - height)
    region = pixels[y : y + height, x : x + width].astype(np.float32)
    colour = np.asarray(COLOURS[mark.colour], dtype=np.float32)
    region += (colour - region) * mark.ink[..., None]
    pixels[y : y + height, x : x + width] = region.astype(np.uint8)
