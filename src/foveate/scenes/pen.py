"""Print: the fonts that matplotlib ships, on a sheet of any size."""

from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from foveate.scenes.sample import SIZE
from foveate.scenes.sources import require

# of each face its regular and bold file, and how large it is set, so that all look alike in size
FACES = {
    "sans": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", 0.94),
    "serif": ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", 0.94),
    "mono": ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", 0.94),
    "roman": ("STIXGeneral.ttf", "STIXGeneralBol.ttf", 1.15),
}
LETTER = 10  # pixels of a line's letters in a picture of SIZE
LEADING = 1.25
SMALL = 0.9
Colour = tuple[int, int, int]


@cache
def font(face: str, pixels: float, *, bold: bool) -> ImageFont.FreeTypeFont:
    """A face at a size, laid out the same with and without Raqm."""
    regular, heavy, scale = FACES[face]
    folder = Path(require("matplotlib").get_data_path()) / "fonts" / "ttf"
    path = str(folder / (heavy if bold else regular))
    return ImageFont.truetype(path, pixels * scale, layout_engine=ImageFont.Layout.BASIC)


def letter(size: int) -> float:
    """Pixels of a line's letters in a picture of `size`."""
    return LETTER * sqrt(size / SIZE)


def lines(height: float, size: int) -> int:
    """How many lines fit into `height` pixels of a picture of `size`."""
    return int(height / (letter(size) * LEADING))


class Pen:
    """Writes and draws on one sheet.

    Attributes:
        size: the sheet's side in pixels.
        pixels: of a line's letters.
        pitch: from line to line, in pixels.
        thin: pixels of a thin line.
        draw: Pillow's own.
    """

    def __init__(self, size: int, face: str, paper: Colour) -> None:
        self.size = size
        self.pixels = letter(size)
        self.pitch = self.pixels * LEADING
        self.thin = round(self.pixels / LETTER)
        self._face = face
        self._sheet = Image.new("RGB", (size, size), paper)
        self.draw = ImageDraw.Draw(self._sheet)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        ink: Colour,
        *,
        anchor: str = "lm",
        bold: bool = False,
        small: bool = False,
    ) -> None:
        """Write `text` at (x, y), which Pillow's `anchor` says more of."""
        y = round(y + 0.07 * self.pixels)  # its middle is above that of capitals
        self.draw.text((x, y), text, ink, self._font(bold=bold, small=small), anchor)

    def width(self, text: str, *, bold: bool = False) -> float:
        """Pixels that a text takes."""
        return self._font(bold=bold).getlength(text)

    def pixels_drawn(self) -> UInt8[np.ndarray, "size size 3"]:
        """The sheet."""
        return np.array(self._sheet)

    def _font(self, *, bold: bool, small: bool = False) -> ImageFont.FreeTypeFont:
        return font(self._face, self.pixels * (SMALL if small else 1), bold=bold)
