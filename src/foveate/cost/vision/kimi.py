"""Kimi K2.5: pictures of any size, padded to whole tokens; four frames are one sequence, averaged."""

import math
from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import (
    DEFAULT_SIDE,
    Encoded,
    Media,
    patch_attention,
    register_encoder,
)
from foveate.cost.vision.tower import Tower, TowerLayer, linear, side

MOST_PATCHES, MOST_OF_FRAME, LONGEST = 16384, 4096, 512  # the processors' limits, in patches


@register_encoder("kimi_k25")
def kimi(config: Any, media: Media) -> Encoded:
    """A picture is a group, and so are four frames, which have as many tokens as one."""
    vision = config.vision_config
    patch, merge, width = (
        side(vision.patch_size),
        side(vision.merge_kernel_size),
        vision.hidden_size,
    )
    most = media.max_pixels // patch**2 if media.max_pixels else None
    most = most or (MOST_OF_FRAME if media.frames else MOST_PATCHES)
    size = media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE
    rows, columns = (length * merge for length in _cells(size, patch, merge, most))
    groups, tokens = _frames(media, vision.pos_emb_time), rows * columns // merge**2
    spans = tuple(frames * rows * columns for frames in groups)
    layer = TowerLayer(spans, width, vision.intermediate_size)
    read = Cost.of([(linear(sum(spans), 3 * patch**2, width), 1)])
    shown, joined = len(groups) * tokens, width * merge**2
    projector = [
        (linear(shown, joined, joined), 1),
        (linear(shown, joined, config.text_config.hidden_size), 1),
    ]
    return Encoded(
        groups=(tokens,) * len(groups),
        tower=Tower(read, (layer,) * vision.num_hidden_layers),
        projector=Cost.of(projector),
        width=width,
        key_width=width,
        patch_attention=patch_attention(spans, width),
        grids=((rows // merge, columns // merge),) * len(groups),
    )


def _frames(media: Media, most: int) -> list[int]:
    """Frames of each group."""
    if not media.frames:
        return [1] * media.images
    return [min(most, media.frames - first) for first in range(0, media.frames, most)]


def _cells(size: tuple[int, int], patch: int, merge: int, most: int) -> tuple[int, int]:
    """Rows and columns of tokens of a picture that is made smaller, if it must be, and then padded."""
    patches = math.prod(max(1, length // patch) for length in size)
    scale = min(1.0, math.sqrt(most / patches), *(LONGEST * patch / length for length in size))
    rows, columns = (
        math.ceil(min(max(1, int(length * scale)), LONGEST * patch) / (merge * patch))
        for length in size
    )
    return rows, columns
