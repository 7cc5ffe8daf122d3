"""LLaVA-OneVision: an image is a base view and tiles in one grid with row separators; video is frames."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from foveate.models.anyres import PINPOINTS, anyres_batch, anyres_picture, image_groups
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VIDEO, TINY_VISION, Picture, noise


@register_family
class LlavaOnevision(Family):
    """`LlavaOnevisionForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "llava_onevision"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images and videos."""
        return {"image": config.image_token_id, "video": config.video_token_id}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """Images by base view, tile and separators; clips by frame, with the final separator apart."""
        config = core.config
        if modality == "video":
            side = config.vision_config.image_size // config.vision_config.patch_size
            clips, frames = arguments["pixel_values_videos"].shape[:2]
            lengths = torch.tensor([math.ceil(side / 2) ** 2] * frames + [1])
            return [torch.arange(frames + 1).repeat_interleave(lengths)] * clips
        counts, sizes = arguments.get("batch_num_images"), arguments["image_sizes"]
        tiled = [True] * len(sizes)
        if counts is not None:  # of several images each has its base view only
            tiled = [int(count) == 1 for count in counts for _ in range(int(count))]
        ratio = arguments.get("vision_aspect_ratio") or config.vision_aspect_ratio
        return image_groups(
            config,
            sizes,
            tiled,
            lambda labels, sizes, newline: core.pack_image_features(
                labels, sizes, image_newline=newline, vision_aspect_ratio=ratio
            )[0],
        )

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
                image_grid_pinpoints=PINPOINTS,
                vision_feature_layer=-1,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of three shapes, the first with a padded row cut off; clips of 12 frames."""
        if modality == "video":
            pixels = noise(1, 12, 3, 56, 56, seed=size)
            return Picture([config.video_token_id] * (12 * 4 + 1), {"pixel_values_videos": pixels})
        return anyres_picture(config, size)

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Images padded to the most tiles."""
        return anyres_batch(samples)
