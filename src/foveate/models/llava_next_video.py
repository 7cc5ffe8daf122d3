"""LLaVA-NeXT-Video: LLaVA-NeXT's images, and clips of pooled frames without separators."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.anyres import PINPOINTS, anyres_picture
from foveate.models.family import Family, register_family
from foveate.models.llava_next import LlavaNext
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VIDEO, TINY_VISION, Picture, noise


@register_family
class LlavaNextVideo(LlavaNext):
    """`LlavaNextVideoForConditionalGeneration`: images, clips, and mixes."""

    model_type = "llava_next_video"
    model_class = "LlavaNextVideoForConditionalGeneration"
    modalities = ("image", "video")

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
        """Images as in LLaVA-NeXT; a group a frame."""
        if modality == "image":
            return super().groups(core, modality, arguments, pooled)
        clips, frames = arguments["pixel_values_videos"].shape[:2]
        tokens = pooled[0].shape[:-1].numel() // frames
        return [torch.arange(frames).repeat_interleave(tokens)] * clips

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """Frames are pooled in square blocks."""
        if modality == "image":
            return super().pool_patches_to_tokens(core, modality, arguments, patches, groups)
        return Family.pool_patches_to_tokens(self, core, modality, arguments, patches, groups)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Frames are squares."""
        if modality == "image":
            return super().grids(core, modality, arguments, groups)
        return Family.grids(self, core, modality, arguments, groups)

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a view, 4 a frame."""
        from transformers import (
            CLIPVisionConfig,
            LlamaConfig,
            LlavaNextVideoConfig,
            LlavaNextVideoForConditionalGeneration,
        )

        return LlavaNextVideoForConditionalGeneration(
            LlavaNextVideoConfig(
                vision_config=CLIPVisionConfig(**TINY_VISION, image_size=56, projection_dim=32),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_index=TINY_IMAGE,
                video_token_index=TINY_VIDEO,
                image_grid_pinpoints=PINPOINTS,
                spatial_pool_stride=2,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of four shapes; clips of 10 frames."""
        if modality == "image":
            return anyres_picture(config, size)
        pixels = noise(1, 10, 3, 56, 56, seed=size)
        return Picture([config.video_token_id] * 40, {"pixel_values_videos": pixels})
