"""Draw where a picture's patches went: merged together, dropped, pruned after a layer."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from foveate.pictures import to_rgb

VIEW = 288  # pixels of the longer side of one view
MARGIN = 12
TITLES = ("picture", "merged together", "pruned after layer")
EARLY, LATE = np.array([230.0, 60, 40]), np.array([60.0, 120, 230])
PAPER, INK = 255.0, 60.0
LEGIBLE = 14  # pixels of a patch in which a number can be read
GAP, STROKE = 8, 2  # of the hatching, in pixels
Views = tuple[Image.Image, Image.Image, Image.Image]


def draw_token_provenance(
    picture: Image.Image,
    merged_into: Sequence[int | None],
    pruned_after: Sequence[int | None],
    grid: tuple[int, int],
    up_to: int | None = None,
) -> Views:
    """Three views of a picture: itself, its merged tokens, and the layers that dropped them.

    In the second, patches of one token share their mean colour and no line runs between them. In the
    third they are tinted from red (pruned first) to blue (last), with the layer's number; or, if a layer
    is given, what was pruned by then is faded and hatched. Patches that no token took up are
    cross-hatched in both.

    Args:
        picture: the picture or frame.
        merged_into: for each of its patches, row by row, the token it went to.
        pruned_after: for each token the layer after which it left.
        grid: rows and columns of patches.
        up_to: the layer behind which one looks; None for all layers at once.
    """
    patch = max(1, VIEW // max(grid))
    size = grid[1] * patch, grid[0] * patch
    whole = to_rgb(picture).resize(size, Image.Resampling.NEAREST)
    token = np.array([-1 if into is None else into for into in merged_into]).reshape(grid)
    pixels = np.asarray(whole, dtype=float)
    where = np.kron(token, np.ones((patch, patch), dtype=int))
    merged, pruned = pixels.copy(), pixels.copy()
    layers = sorted({layer for layer in pruned_after if layer is not None})
    for number in np.unique(token):
        inside = where == number
        if number < 0:
            _fade(merged, inside, crossed=True)
            _fade(pruned, inside, crossed=True)
            continue
        merged[inside] = pixels[inside].mean(0)
        layer = pruned_after[number]
        if layer is None:
            continue
        if up_to is None:
            late = layers.index(layer) / max(1, len(layers) - 1)
            pruned[inside] = 0.45 * pixels[inside] + 0.55 * ((1 - late) * EARLY + late * LATE)
        elif layer <= up_to:
            _fade(pruned, inside)
    edges = _edges(where)
    for view in (merged, pruned):
        view[edges] = np.where(view[edges].mean(-1, keepdims=True) < 128, PAPER, INK)
    views = [Image.fromarray(view.astype(np.uint8)) for view in (merged, pruned)]
    _number(views[1], token, pruned_after, patch, up_to)
    return whole, views[0], views[1]


def _fade(view: np.ndarray, inside: np.ndarray, *, crossed: bool = False) -> None:
    """Nearly the paper's colour, under strokes one way, or both ways."""
    rows, columns = np.indices(inside.shape)
    strokes = (rows + columns) % GAP < STROKE
    if crossed:
        strokes |= (rows - columns) % GAP < STROKE
    view[inside] = 0.2 * view[inside] + 0.8 * PAPER
    view[inside & strokes] = 0.5 * view[inside & strokes] + 0.5 * INK


def _edges(where: np.ndarray) -> np.ndarray:
    """The pixels at which another token begins."""
    edges = np.zeros_like(where, dtype=bool)
    edges[1:] |= where[1:] != where[:-1]
    edges[:, 1:] |= where[:, 1:] != where[:, :-1]
    return edges


def _number(
    view: Image.Image,
    token: np.ndarray,
    pruned_after: Sequence[int | None],
    patch: int,
    up_to: int | None,
) -> None:
    """Write on each token's first patch the layer after which it was pruned, where there is room."""
    draw = ImageDraw.Draw(view)
    seen = set()
    for (row, column), number in np.ndenumerate(token):
        layer = pruned_after[number] if number >= 0 else None
        is_told = layer is not None and (up_to is None or layer <= up_to)
        if is_told and number not in seen and patch >= LEGIBLE:
            at = column * patch + 4, row * patch + 4
            ink, halo = ("white", "black") if up_to is None else ("black", "white")
            draw.text(at, str(layer), fill=ink, stroke_width=1, stroke_fill=halo)
        seen.add(number)


def strip(views: Sequence[Image.Image]) -> Image.Image:
    """Views beside each other."""
    drawn = Image.new("RGB", (3 * VIEW + 2 * MARGIN, views[0].height), "white")
    for index, view in enumerate(views):
        drawn.paste(view, (index * (VIEW + MARGIN), 0))
    return drawn


def stack(strips: Sequence[Image.Image], head: str = "") -> Image.Image:
    """Strips under each other, under a line that says what the three views are.

    Args:
        strips: at least one, each as `strip` makes it.
        head: what they are of, on a line above; none if empty.
    """
    line = 24
    top = 2 * line if head else line
    height = top + sum(strip.height + MARGIN for strip in strips)
    sheet = Image.new("RGB", (max(strip.width for strip in strips) + 2 * MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 6), head, fill="black")
    for index, title in enumerate(TITLES):
        draw.text((MARGIN + index * (VIEW + MARGIN), top - line + 6), title, fill="black")
    for one in strips:
        sheet.paste(one, (MARGIN, top))
        top += one.height + MARGIN
    return sheet


def under_each_other(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures of any sizes on one sheet."""
    sheet = Image.new(
        "RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), "white"
    )
    top = 0
    for one in sheets:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet
