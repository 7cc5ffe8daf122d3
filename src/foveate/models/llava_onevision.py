"""LLaVA-OneVision: an image is a base view and tiles in one grid with row separators; video is frames."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.modeling_llava_onevision import get_anyres_image_grid_shape

from foveate.models.family import Family, register_family
from foveate.models.llava import (
    TINY_IMAGE,
    TINY_LLM,
    TINY_VIDEO,
    TINY_VISION,
    tiny_pixels,
    tiny_prompt,
)

BASE, TILE, SEPARATOR = 0.0, 1.0, 2.0


@register_family
class LlavaOnevision(Family):
    """`LlavaOnevisionForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "llava_onevision"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images and videos."""
        return {"image": config.image_token_id, "video": config.video_token_id}

    def groups(
        self, core: Any, modality: str, arguments: Mapping[str, Any]
    ) -> list[Int[Tensor, " _"]]:
        """Images by base view, tile and separators; clips by frame, with the final separator apart."""
        if modality == "video":
            return video_groups(core.config, arguments["pixel_values_videos"])
        return image_groups(core, arguments)

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a view, 4 a frame."""
        return LlavaOnevisionForConditionalGeneration(
            LlavaOnevisionConfig(
                vision_config=SiglipVisionConfig(
                    **TINY_VISION, image_size=56, vision_use_head=False
                ),
                text_config=Qwen2Config(**TINY_LLM),
                image_token_index=TINY_IMAGE,
                video_token_index=TINY_VIDEO,
                image_grid_pinpoints=[[56, 56], [56, 112], [112, 56], [112, 112]],
                vision_feature_layer=-1,
            )
        ).eval()

    def tiny_inputs(self, config: Any, modality: str) -> dict[str, Tensor]:
        """A 100 x 112 image (2 x 2 tiles, a padded row cut off), or a clip of 12 frames."""
        if modality == "video":
            prompt = tiny_prompt(config.video_token_id, 12 * 4 + 1)
            return {**prompt, "pixel_values_videos": tiny_pixels(1, 12, 3, 56, 56)}
        return {
            **tiny_prompt(config.image_token_id, 16 + 8 * (8 + 1)),
            "pixel_values": tiny_pixels(1, 5, 3, 56, 56),
            "image_sizes": torch.tensor([[100, 112]]),
        }


def video_groups(config: Any, pixels: Float[Tensor, "B frames C H W"]) -> list[Int[Tensor, " _"]]:
    """One group a frame of 2 x 2 pooled tokens, and one for the separator at the end."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    frames, tokens = pixels.shape[1], math.ceil(side / 2) ** 2
    lengths = torch.tensor([tokens] * frames + [1])
    return [torch.arange(frames + 1).repeat_interleave(lengths)] * len(pixels)


def image_groups(core: Any, arguments: Mapping[str, Any]) -> list[Int[Tensor, " _"]]:
    """Base view, each tile, and the row separators of an image are groups of their own.

    The model's own packing is run on labels in place of features, so that padding, resampling and
    separators fall where they fall for the real ones.
    """
    config = core.config
    side = config.vision_config.image_size // config.vision_config.patch_size
    counts, sizes = arguments.get("batch_num_images"), arguments["image_sizes"]
    alone = [True] * len(sizes) if counts is None else [n == 1 for n in counts for _ in range(n)]
    packed, _ = core.pack_image_features(
        [
            _views(_grid(config, size) if tiled else (0, 0), side)
            for size, tiled in zip(sizes, alone, strict=True)
        ],
        sizes,
        image_newline=torch.tensor([SEPARATOR, 0.0, 0.0]),
        vision_aspect_ratio=arguments.get("vision_aspect_ratio") or config.vision_aspect_ratio,
    )
    return [image.round().long().unique(dim=0, return_inverse=True)[1] for image in packed]


def _grid(config: Any, size: Any) -> tuple[int, int]:
    """Rows and columns of an image's tiles."""
    return get_anyres_image_grid_shape(
        size, config.image_grid_pinpoints, config.vision_config.image_size
    )


def _views(grid: tuple[int, int], side: int) -> Float[Tensor, "views patches 3"]:
    """(kind, tile row, tile column) of every patch of the base view and the tiles.

    Resampling may blend neighbouring tiles: rows and columns then round to one of the two.
    """
    rows, columns = grid
    tiles = [(TILE, float(row), float(column)) for row in range(rows) for column in range(columns)]
    labels = torch.tensor([(BASE, 0.0, 0.0), *tiles])
    return labels[:, None].expand(-1, side * side, -1)
