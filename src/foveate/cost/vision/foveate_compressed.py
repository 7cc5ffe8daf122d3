"""LLaVA-OneVision with a learned compressor between its ViT and its projector."""

from typing import Any

import torch

from foveate.compress.learned.described import build_compressor
from foveate.cost.operation import Cost, Operation
from foveate.cost.vision.encoder import Encoded, Media, by_tower, register_encoder
from foveate.cost.vision.llava import best_resolution, class_tokens, project


@register_encoder("foveate_compressed")
def compressed(config: Any, media: Media) -> Encoded:
    """Each view or frame is compressed by itself; reading the question is not counted here."""
    with torch.device("meta"):
        compressor = build_compressor(config)
    vision, views = config.vision_config, media.frames or media.images * _views(config, media)
    patches = (vision.image_size // vision.patch_size) ** 2
    tokens = compressor.count(tokens=config.visual_tokens)
    read = vision.hidden_size * (1 + len(config.multi_level_layers or ()))
    flops = compressor.flops(tokens=config.visual_tokens)
    weights = sum(part.numel() for part in compressor.parameters())
    moved = weights + views * (patches * read + tokens * vision.hidden_size)
    made = Cost.of([(Operation(views * flops, views * flops, moved), 1)])
    projector = made + project(config, views * tokens)
    groups, extra = (tokens,) * views, class_tokens(config)
    return by_tower(vision, views, patches, groups, projector, extra=extra)


def _views(config: Any, media: Media) -> int:
    """Views of one picture: itself, and its tiles if they are compressed too."""
    if config.views == "base" or media.images > 1:
        return 1
    side = config.vision_config.image_size
    size = (media.height or side, media.width or side)
    height, width = best_resolution(size, config.image_grid_pinpoints)
    return 1 + (height // side) * (width // side)
