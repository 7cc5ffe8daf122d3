"""Draw where a picture's patches went: merged together, pruned after a layer."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from foveate.pictures import to_rgb

VIEW = 288  # pixels of one view
MARGIN = 12
EARLY, LATE = np.array([230.0, 60, 40]), np.array([60.0, 120, 230])


def draw_token_provenance(
    picture: Image.Image,
    merged_into: Sequence[int | None],
    pruned_after: Sequence[int | None],
    side: int,
) -> Image.Image:
    """Three views of a square picture: itself, its merged tokens, and the layers that dropped them.

    In the second, patches of one token share their mean colour and no line runs between them. In the
    third they are tinted from red (pruned first) to blue (last), with the layer's number.

    Args:
        picture: the picture or frame.
        merged_into: for each of its side x side patches the token it went to.
        pruned_after: for each token the layer after which it left.
        side: patches in a row.
    """
    whole = to_rgb(picture).resize((VIEW, VIEW), Image.Resampling.NEAREST)
    token = np.array([-1 if into is None else into for into in merged_into]).reshape(side, side)
    pixels = np.asarray(whole, dtype=float)
    where = np.kron(token, np.ones((VIEW // side, VIEW // side), dtype=int))
    merged, pruned = pixels.copy(), pixels.copy()
    layers = sorted({layer for layer in pruned_after if layer is not None})
    for number in np.unique(token):
        inside = where == number
        merged[inside] = pixels[inside].mean(0)
        layer = pruned_after[number] if number >= 0 else None
        if layer is not None:
            late = layers.index(layer) / max(1, len(layers) - 1)
            pruned[inside] = 0.45 * pixels[inside] + 0.55 * ((1 - late) * EARLY + late * LATE)
    edges = np.zeros_like(where, dtype=bool)
    edges[1:] |= where[1:] != where[:-1]
    edges[:, 1:] |= where[:, 1:] != where[:, :-1]
    merged[edges] = pruned[edges] = 255
    views = [whole, *[Image.fromarray(view.astype(np.uint8)) for view in (merged, pruned)]]
    _number(views[2], token, pruned_after)
    strip = Image.new("RGB", (3 * VIEW + 2 * MARGIN, VIEW), "white")
    for index, view in enumerate(views):
        strip.paste(view, (index * (VIEW + MARGIN), 0))
    return strip


def _number(view: Image.Image, token: np.ndarray, pruned_after: Sequence[int | None]) -> None:
    """Write on each token's first patch the layer after which it was pruned."""
    draw = ImageDraw.Draw(view)
    side, patch = len(token), VIEW // len(token)
    numbered = set()
    for row in range(side):
        for column in range(side):
            number = int(token[row, column])
            layer = pruned_after[number] if number >= 0 else None
            if layer is not None and number not in numbered:
                draw.text((column * patch + 4, row * patch + 4), str(layer), fill="white")
            numbered.add(number)


def stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Strips under each other, under a line that says what the three views are."""
    head = 24
    height = head + sum(strip.height + MARGIN for strip in strips)
    sheet = Image.new("RGB", (max(strip.width for strip in strips) + 2 * MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, title in enumerate(("picture", "merged together", "pruned after layer")):
        draw.text((MARGIN + index * (VIEW + MARGIN), 6), title, fill="black")
    top = head
    for strip in strips:
        sheet.paste(strip, (MARGIN, top))
        top += strip.height + MARGIN
    return sheet
