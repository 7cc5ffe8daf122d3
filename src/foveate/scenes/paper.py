"""How a document is printed: where its lines and cells stand on the sheet."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from foveate.scenes.pen import FACES, Pen, font, letter

if TYPE_CHECKING:
    from foveate.scenes.documents import Document

TICK, BLANK = "[x]", "[ ]"
MARGIN = 0.04  # of the sheet, on each side
GAP = 0.5  # between words, in letters
COLUMN = 2.5  # of a table, in letters


def room(size: int) -> float:
    """Pixels from margin to margin."""
    return size * (1 - 2 * MARGIN)


def wrapped(words: list[str], count: int, size: int) -> tuple[tuple[str, ...], ...]:
    """Words in at most `count` lines that fit a sheet in every face."""
    fonts = [font(face, letter(size), bold=True) for face in FACES]
    widths = {word: max(font.getlength(word) for font in fonts) for word in words}
    rows, row, x = [], [], 0.0
    for word in words:
        if x + widths[word] > room(size):
            rows.append(tuple(row))
            row, x = [], 0.0
        row.append(word)
        x += widths[word] + GAP * letter(size)
    return tuple([*rows, tuple(row)][:count])


def paint(plan: "Document", size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The sheet as RGB pixels."""
    pen = Pen(size, plan.face, plan.sheet)
    left, right = size * MARGIN, size * (1 - MARGIN)
    free = room(size) - pen.pitch * (len(plan.rows) + 1 + bool(plan.heads) + bool(plan.foot))
    y = left + plan.top * free + pen.pitch / 2
    pen.write(size / 2, y, plan.heading, plan.ink, anchor="mm", bold=True)
    y += pen.pitch
    _rule(pen, plan, y - pen.pitch / 2)
    if plan.kind == "table":
        _cells(pen, plan, y, ("", *plan.heads), small=True)
        y += pen.pitch
    for row in plan.rows:
        if plan.kind == "page":
            _running(pen, plan, y, row)
        else:
            _cells(pen, plan, y, row)
        y += pen.pitch
    if plan.kind == "receipt":
        _rule(pen, plan, y - pen.pitch / 2)
        _cells(pen, plan, y, ("TOTAL", plan.foot))
    elif plan.kind == "page":
        foot = size - left - pen.pitch / 2
        pen.write(right, foot, plan.foot, plan.ink, anchor="rm", small=True)
    return pen.pixels_drawn()


def _rule(pen: Pen, plan: "Document", y: float) -> None:
    """A line from margin to margin."""
    ends = [(pen.size * MARGIN, y), (pen.size * (1 - MARGIN), y)]
    pen.draw.line(ends, plan.ink, pen.thin)


def _cells(
    pen: Pen, plan: "Document", y: float, row: tuple[str, ...], *, small: bool = False
) -> None:
    """A label at the left; a form's value from the middle on; else values that end in columns."""
    left, right = pen.size * MARGIN, pen.size * (1 - MARGIN)
    label, *values = row
    pen.write(left, y, label, plan.ink)
    if plan.kind == "form":
        _filled(pen, plan, y, values[0])
        return
    step = COLUMN * pen.pixels
    for place, value in enumerate(reversed(values)):
        pen.write(right - place * step, y, value, plan.ink, anchor="rm", small=small)


def _filled(pen: Pen, plan: "Document", y: float, value: str) -> None:
    """A value of a form on its line, or a box with or without a cross."""
    x, half = pen.size * 0.54, pen.pixels * 0.4
    if value not in (TICK, BLANK):
        pen.write(x, y, value, plan.ink)
        return
    box = (x, y - half, x + 2 * half, y + half)
    pen.draw.rectangle(box, outline=plan.ink, width=pen.thin)
    if value == TICK:
        pen.draw.line(box, plan.ink, pen.thin)
        pen.draw.line((box[0], box[3], box[2], box[1]), plan.ink, pen.thin)


def _running(pen: Pen, plan: "Document", y: float, row: tuple[str, ...]) -> None:
    """Words one after another."""
    x = pen.size * MARGIN
    for word in row:
        bold = word == plan.bold
        pen.write(x, y, word, plan.ink, bold=bold)
        x += pen.width(word, bold=bold) + GAP * pen.pixels
