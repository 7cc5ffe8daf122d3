"""Families of local tiles and one global view: DeepSeek-OCR 2, Step 3.7.

The numbers of a picture's tiles are those of the processors' defaults. A picture without a size is one
view; so is every frame of a clip.
"""

import math
from collections.abc import Sequence
from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.cost.vision.encoder import Encoded, Media, patch_attention, register_encoder
from foveate.cost.vision.tiled import nearest_grid
from foveate.cost.vision.tower import Tower, TowerLayer, attention, linear, side

Work = list[tuple[Operation, int]]
OCR_TILE, OCR_TILES = 768, (2, 6)  # side of a tile, the least and the most of them
QUERIES = (144, 256)  # that read a small and a large view
STEP_TILE, STEP_LARGEST, STRIDE = 504, 3024, 4  # side of a tile, of a picture; of what is convolved


@register_encoder("deepseek_ocr2")
def deepseek_ocr2(config: Any, media: Media) -> Encoded:
    """A SAM tower, then queries that read what it saw, then one layer; a separator ends a picture."""
    vision = config.vision_config
    whole = side(vision.sam_config.image_size)
    tiles = _ocr_tiles(media) if media.height else 0
    sides, pictures = [OCR_TILE] * tiles + [whole], media.frames or media.images
    done, views = [], []
    for length in sides:
        seen, work = _sam(vision.sam_config, length)
        views.append(QUERIES[seen > QUERIES[0]])
        done += [*work, *_reading(vision.encoder_config, seen + views[-1])]
    width, shown = vision.encoder_config.hidden_size, pictures * sum(views)
    projector = [(linear(shown, width, config.text_config.hidden_size), 1)]
    return _encoded(done, projector, pictures, (*views, 1), width, views)


@register_encoder("step3p7")
def step3p7(config: Any, media: Media) -> Encoded:
    """A ViT whose patches are joined 4 x 4 by two convolutions, then one layer."""
    vision = config.vision_config
    whole, patch, width = side(vision.image_size), side(vision.patch_size), vision.hidden_size
    tiles = _step_tiles(media.height, media.width or 0, whole) if media.height else 0
    pictures = media.frames or media.images
    done, views = [], []
    for length in [STEP_TILE] * tiles + [whole]:
        edge = length // patch
        done.append((linear(edge**2, 3 * patch**2, width), 1))
        layer = TowerLayer((edge**2,), width, vision.intermediate_size)
        for operation, times in layer.operations():
            done.append((operation, times * vision.num_hidden_layers))
        half, quarter = -(-edge // 2), -(-edge // STRIDE)
        done.append((linear(half**2, 9 * width, 2 * width), 1))
        done.append((linear(quarter**2, 9 * 2 * width, 4 * width), 1))
        views.append(quarter**2)
    shown = pictures * sum(views)
    projector = [(linear(shown, 4 * width, config.text_config.hidden_size), 1)]
    return _encoded(done, projector, pictures, tuple(views), 4 * width, views)


def _encoded(
    done: Work, projector: Work, pictures: int, groups: tuple[int, ...], width: int,
    views: Sequence[int],
) -> Encoded:  # fmt: skip
    """Of pictures that are all alike."""
    return Encoded(
        groups=groups * pictures,
        tower=Tower(Cost.of([(operation, times * pictures) for operation, times in done])),
        projector=Cost.of(projector),
        width=width,
        key_width=width,
        patch_attention=patch_attention(list(views) * pictures, width),
    )


def _ocr_tiles(media: Media) -> int:
    """Tiles of a picture of some size."""
    size = media.height or 0, media.width or 0
    return math.prod(nearest_grid(size, OCR_TILE, *OCR_TILES)) if max(size) > OCR_TILE else 0


def _step_tiles(height: int, width: int, whole: int) -> int:
    """Tiles of a picture of some size: windows as large as a tile, or as its shorter side."""
    if min(height, width) < 32 and max(height, width) > 4 * min(height, width):
        height = width = max(height, width)
    if (longest := max(height, width)) > STEP_LARGEST:
        height, width = (int(length * (STEP_LARGEST / longest)) for length in (height, width))
    short, long = sorted((height, width))
    window = STEP_TILE
    if long <= whole:
        window = short if long / short > 1.5 else 0
    elif long / short > 4:
        window = min(short, STEP_TILE)
    if not window:
        return 0
    counts = (n // window + (n % window > 0.2 * window) for n in (height, width))
    return math.prod(max(1, count) for count in counts)


def _sam(sam: Any, length: int) -> tuple[int, Work]:
    """What a SAM tower makes of a square view: how many features, and the work."""
    patch, width, layers = side(sam.patch_size), sam.hidden_size, sam.num_hidden_layers
    edge = length // patch
    rows, inner = edge**2, sam.mlp_dim
    done: Work = [(linear(rows, sam.num_channels * patch**2, width), 1)]
    done.append((linear(rows, width, inner), 2 * layers))
    for layer in range(layers):
        window = edge if layer in sam.global_attn_indexes else sam.window_size
        spans = [window**2] * (-(-edge // window)) ** 2  # windows at the border are filled up
        done += [(linear(sum(spans), width, width), 4), (attention(spans, width), 1)]
        if sam.use_rel_pos:  # each query with each row and each column
            done.append((linear(sum(spans), width, window), 2))
    out, (first, last) = sam.output_channels, sam.downsample_channels
    half = -(-edge // 2)
    quarter = -(-half // 2)
    done += [
        (linear(rows, width, out), 1),
        (linear(rows, 9 * out, out), 1),
        (linear(half**2, 9 * out, first), 1),
        (linear(quarter**2, 9 * first, last), 1),
    ]
    return quarter**2, done


def _reading(reader: Any, rows: int) -> Work:
    """Features and queries go through the layers of an LLM."""
    width, heads = reader.hidden_size, reader.num_attention_heads
    keys = width // heads * (reader.num_key_value_heads or heads)
    each: Work = [
        (linear(rows, width, width), 2),
        (linear(rows, width, keys), 2),
        (linear(rows, width, reader.intermediate_size), 3),
        (attention([rows], width), 1),
    ]
    return [(operation, times * reader.num_hidden_layers) for operation, times in each]
