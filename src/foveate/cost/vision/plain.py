"""Families with a plain ViT and a projector of a few matrices: pictures of one size, or on a grid."""

from typing import Any

from foveate.cost.operation import Cost
from foveate.cost.vision.encoder import DEFAULT_SIDE, Encoded, Media, by_tower, register_encoder
from foveate.cost.vision.qwen import resized
from foveate.cost.vision.tower import linear, side
from foveate.errors import UnsupportedError

PADDLE_PIXELS = (384 * 384, 1536 * 1536)  # the least and the most of its image processor


@register_encoder("aya_vision", "cohere2_vision")
def cohere(config: Any, media: Media) -> Encoded:
    """Pixel shuffle, then a gated layer and a plain one; a picture is a tile.

    Raises:
        UnsupportedError: a size is given: how many tiles that is, the processor says.
    """
    if media.height:
        raise UnsupportedError(
            f"how many tiles {media.height} x {media.width} pixels are, the processor of "
            f"{config.model_type} says; give the visual tokens, or no size for one tile"
        )
    joined, out = config.downsample_factor**2, config.text_config.hidden_size
    inner = getattr(config, "alignment_intermediate_size", out)
    return _tiles(
        config, media, joined, (config.vision_config.hidden_size * joined, inner), (inner // 2, out)
    )


@register_encoder("deepseek_vl")
def deepseek_vl(config: Any, media: Media) -> Encoded:
    """Every picture is resized to the one size of the tower; every patch is a token; two layers."""
    out = config.text_config.hidden_size
    return _tiles(config, media, 1, (config.vision_config.hidden_size, out), (out, out))


def _tiles(config: Any, media: Media, joined: int, *matrices: tuple[int, int]) -> Encoded:
    """Each picture or frame is as large as the tower takes; `joined` patches are a token."""
    vision, pictures = config.vision_config, media.frames or media.images
    patches = (side(vision.image_size) // side(vision.patch_size)) ** 2
    tokens = patches // joined
    projector = Cost.of([(linear(pictures * tokens, *matrix), 1) for matrix in matrices])
    return by_tower(vision, pictures, patches, (tokens,) * pictures, projector)


@register_encoder("paddleocr_vl")
def paddleocr_vl(config: Any, media: Media) -> Encoded:
    """Pictures of any size, patches joined 2 x 2, then two layers; a frame is shown as a picture."""
    vision, pictures = config.vision_config, media.frames or media.images
    patch, merge = vision.patch_size, vision.spatial_merge_size
    least, most = PADDLE_PIXELS
    size = (media.height or DEFAULT_SIDE, media.width or DEFAULT_SIDE)
    tall, wide = resized(*size, patch * merge, media.max_pixels or most, least)
    rows, columns = tall // patch, wide // patch
    grid = (rows // merge, columns // merge)
    tokens, joined = grid[0] * grid[1], vision.hidden_size * merge**2
    shown = pictures * tokens
    projector = Cost.of(
        [
            (linear(shown, joined, joined), 1),
            (linear(shown, joined, config.text_config.hidden_size), 1),
        ]
    )
    groups, grids = (tokens,) * pictures, (grid,) * pictures
    return by_tower(vision, pictures, rows * columns, groups, projector, grids=grids)
