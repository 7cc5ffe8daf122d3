"""How a screen is drawn: a title bar, four panels, and what is in them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from foveate.scenes.pen import LEADING, Colour, Pen, letter
from foveate.scenes.sample import COLOURS

KINDS = ("list", "fields", "buttons", "switches")
PLACES = ("top left", "top right", "bottom left", "bottom right")
MOST = 9  # lines of a panel


@dataclass(frozen=True)
class Item:
    """One line of a panel, or one field.

    Attributes:
        label: its word.
        on: whether it is selected, enabled or turned on.
        value: what is entered in a field.
    """

    label: str
    on: bool
    value: str = ""


@dataclass(frozen=True)
class Panel:
    """A quarter of the screen, with items of one of `KINDS`."""

    kind: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Screen:
    """What a screen shows.

    Attributes:
        title: the word in the bar at the top.
        panels: in the order of `PLACES`.
        face: font.
        is_dark: whether letters are light on dark.
        accent: name of the colour of what is selected, enabled or on.
    """

    title: str
    panels: tuple[Panel, ...]
    face: str
    is_dark: bool
    accent: str


def lines(size: int) -> int:
    """Lines of a panel, of which a field takes two."""
    pitch = letter(size) * LEADING
    return min(MOST, int((size - 1.5 * pitch) / 2 / (1.1 * pitch)))


class _Brush(Pen):
    """A pen with the colours of a screen.

    Attributes:
        ink: of letters.
        faint: of what is disabled or off.
        ground: of the panels.
        accent: of what is selected, enabled or on.
        on_accent: of letters on that.
    """

    def __init__(self, plan: Screen, size: int) -> None:
        dark = plan.is_dark
        self.ink: Colour = (235, 235, 235) if dark else (25, 25, 30)
        self.faint: Colour = (125, 125, 132) if dark else (165, 165, 172)
        self.ground: Colour = (38, 40, 46) if dark else (250, 250, 250)
        self.accent = COLOURS[plan.accent]
        super().__init__(size, plan.face, (14, 15, 18) if dark else (222, 224, 228))

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: Colour | None,
        line: Colour,
    ) -> None:
        """A rectangle with round corners."""
        corner = self.pixels * 0.25
        self.draw.rounded_rectangle((left, top, right, bottom), corner, fill, line, self.thin)


def paint(plan: Screen, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The screen as RGB pixels."""
    brush = _Brush(plan, size)
    bar, gap = 1.4 * brush.pitch, size * 0.015
    brush.write(size / 2, bar / 2, plan.title, brush.ink, anchor="mm", bold=True)
    height = (size - bar) / 2
    for number, panel in enumerate(plan.panels):
        x, y = number % 2 * size / 2, bar + number // 2 * height
        frame = (x + gap, y, x + size / 2 - gap, y + height - gap)
        brush.box(*frame, fill=brush.ground, line=brush.faint)
        _fill(brush, panel, frame)
    return brush.pixels_drawn()


def _fill(brush: _Brush, panel: Panel, frame: tuple[float, float, float, float]) -> None:
    """The items of a panel from top to bottom."""
    draw = {"list": _entry, "fields": _field, "buttons": _button, "switches": _switch}[panel.kind]
    left, y, right, _ = frame
    rows = 2 if panel.kind == "fields" else 1
    step = min(1.8 * brush.pitch, (frame[3] - y) / (rows * len(panel.items)))
    inset = 0.25 * brush.pixels
    for item in panel.items:
        draw(brush, item, left + inset, float(round(y + step / 2)), right - inset)
        y += rows * step


def _entry(brush: _Brush, item: Item, left: float, y: float, right: float) -> None:
    """A line of a list; the selected one on the accent's colour."""
    half = round(brush.pitch / 2)
    if item.on:
        brush.draw.rectangle((left, y - half + 1, right, y + half), brush.accent)
    brush.write(left + 2 * brush.thin, y, item.label, (0, 0, 0) if item.on else brush.ink)


def _field(brush: _Brush, item: Item, left: float, y: float, right: float) -> None:
    """A label, and under it a box with what is entered."""
    brush.write(left, y, item.label, brush.ink, small=True)
    half, below = round(brush.pitch / 2), y + round(brush.pitch)
    brush.box(left, below - half + 1, right, below + half, fill=None, line=brush.ink)
    brush.write(left + 3 * brush.thin, below, item.value, brush.ink)


def _button(brush: _Brush, item: Item, left: float, y: float, right: float) -> None:
    """A box with its word in the middle, grey if it cannot be pressed."""
    half = round(brush.pitch / 2)
    fill, ink = (brush.accent, (0, 0, 0)) if item.on else (None, brush.faint)
    brush.box(left, y - half + 1, right, y + half, fill=fill, line=brush.faint)
    brush.write((left + right) / 2, y, item.label, ink, anchor="mm")


def _switch(brush: _Brush, item: Item, left: float, y: float, right: float) -> None:
    """A label, and at the right a slot whose knob is to the right if it is on."""
    brush.write(left, y, item.label, brush.ink)
    high = 0.4 * brush.pixels
    wide = 1.4 * high
    middle = right - wide
    brush.draw.rounded_rectangle(
        (middle - wide, y - high, right, y + high), high, brush.accent if item.on else brush.faint
    )
    x = right - high if item.on else middle - wide + high
    knob = 0.7 * high
    brush.draw.ellipse((x - knob, y - knob, x + knob, y + knob), brush.ground, brush.ink)
