"""Idefics2: pictures of any shape, cut in four, padded to one size and read by learned queries."""

from typing import Any

from foveate.cost.operation import Cost, Operation
from foveate.cost.vision.encoder import Encoded, Media, patch_attention, register_encoder
from foveate.cost.vision.tower import Tower, TowerLayer, linear, side

EDGES = (378, 980)  # `size` of its image processor: the shortest and the longest edge


@register_encoder("idefics2")
def idefics2(config: Any, media: Media) -> Encoded:
    """A picture of a given size is four tiles and itself, as published (`do_image_splitting`).

    A picture without a size is one tile, and so is every frame.
    """
    vision, pictures = config.vision_config, media.frames or media.images
    tile = side(vision.image_size)
    sizes = [(tile, tile)]
    if media.height and media.width:
        sizes = [(media.height, media.width)]
    if media.height and media.width and not media.frames:
        tall, wide = media.height // 2, media.width // 2
        sizes += [(high, broad) for high in (tall, media.height - tall)
                  for broad in (wide, media.width - wide)]  # fmt: skip
    resized = [_resized(size) if media.height else size for size in sizes]
    patch = side(vision.patch_size)
    patches = (max(h for h, _ in resized) // patch) * (max(w for _, w in resized) // patch)
    tiles, width = pictures * len(sizes), vision.hidden_size
    spans, many = (patches,) * tiles, tiles * patches
    read = Cost.of([(linear(many, getattr(vision, "num_channels", 3) * patch**2, width), 1)])
    layer = TowerLayer(spans, width, vision.intermediate_size)
    tower = Tower(read, (layer,) * vision.num_hidden_layers)
    groups = (config.perceiver_config.resampler_n_latents,) * tiles
    projector = Cost.of(_connector(config, tiles, patches))
    shown = patch_attention(spans, width)
    return Encoded(groups, tower, projector, width, width, shown)


def _connector(config: Any, tiles: int, patches: int) -> list[tuple[Operation, int]]:
    """Three matrices over patches, then layers in which queries read them and themselves."""
    read, inner = config.vision_config.hidden_size, config.text_config.intermediate_size
    asks, out = config.perceiver_config, config.text_config.hidden_size
    queries, seen = tiles * asks.resampler_n_latents, tiles * (asks.resampler_n_latents + patches)
    wide = asks.resampler_n_heads * asks.resampler_head_dim
    keys = asks.num_key_value_heads * asks.resampler_head_dim
    flops = 4 * queries * (asks.resampler_n_latents + patches) * wide
    layer = [
        (linear(queries, out, wide), 2),
        (linear(seen, out, keys), 2),
        (Operation(flops, flops, 2 * (queries * wide + seen * keys), attention=True), 1),
        (linear(queries, out, 4 * out), 3),
    ]
    return [
        (linear(tiles * patches, read, inner), 2),
        (linear(tiles * patches, inner, out), 1),
        *((operation, times * asks.resampler_depth) for operation, times in layer),
    ]


def _resized(size: tuple[int, int]) -> tuple[int, int]:
    """The longest edge within its limit, then the shortest."""
    (height, width), (least, most) = size, EDGES
    if width >= height and width > most:
        height, width = int(most / (width / height)), most
    elif height > most:
        height, width = most, int(most * (width / height))
    return max(height, least), max(width, least)
