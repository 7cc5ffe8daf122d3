"""Families that show the LLM equal square tiles: InternVL, Idefics3 and SmolVLM, Gemma 3, PaliGemma.

How many tiles a processor cuts a picture into is its own affair; here a picture is one tile.
"""

from typing import Any

from foveate.measure.cost import Cost
from foveate.measure.vision.encoder import (
    Encoded,
    Media,
    linear,
    register_encoder,
    side,
    tower,
)


def _patches(config: Any) -> int:
    return (side(config.vision_config.image_size) // side(config.vision_config.patch_size)) ** 2


@register_encoder("internvl")
def internvl(config: Any, media: Media) -> Encoded:
    """Pixel shuffle, then two layers."""
    tiles, patches = media.frames or media.images, _patches(config)
    joined = int(1 / config.downsample_ratio) ** 2
    out, tokens = config.text_config.hidden_size, patches // joined
    read = config.vision_config.hidden_size * joined
    projector = [(linear(tiles * tokens, read, out), 1), (linear(tiles * tokens, out, out), 1)]
    return Encoded(
        (tokens,) * tiles, tower(config.vision_config, tiles, patches, extra=1), Cost.of(projector)
    )


@register_encoder("idefics3", "smolvlm")
def idefics3(config: Any, media: Media) -> Encoded:
    """Pixel shuffle, then one layer."""
    tiles, patches = media.frames or media.images, _patches(config)
    joined = config.scale_factor**2
    tokens, read = patches // joined, config.vision_config.hidden_size * joined
    projector = [(linear(tiles * tokens, read, config.text_config.hidden_size), 1)]
    return Encoded(
        (tokens,) * tiles, tower(config.vision_config, tiles, patches), Cost.of(projector)
    )


@register_encoder("gemma3")
def gemma3(config: Any, media: Media) -> Encoded:
    """Average pooling to a fixed count, then one layer."""
    tiles, tokens = media.frames or media.images, config.mm_tokens_per_image
    vision = config.vision_config
    projector = [(linear(tiles * tokens, vision.hidden_size, config.text_config.hidden_size), 1)]
    return Encoded(
        (tokens,) * tiles, tower(vision, tiles, _patches(config)), Cost.of(projector)
    )  # fmt: skip


@register_encoder("paligemma")
def paligemma(config: Any, media: Media) -> Encoded:
    """Every patch is a token; one layer."""
    tiles, tokens = media.frames or media.images, _patches(config)
    vision = config.vision_config
    projector = [(linear(tiles * tokens, vision.hidden_size, config.projection_dim), 1)]
    return Encoded((tokens,) * tiles, tower(vision, tiles, tokens), Cost.of(projector))
