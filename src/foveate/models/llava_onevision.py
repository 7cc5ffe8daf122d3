"""LLaVA-OneVision: an image is a base view and tiles in one grid with row separators; video is frames."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.anyres import (
    PINPOINTS,
    Pack,
    anyres_batch,
    anyres_picture,
    image_grids,
    image_groups,
    pack_image_patches,
)
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VIDEO, TINY_VISION, Picture, noise
from foveate.models.towers import layer_of_state, vision_encoder


@register_family
class LlavaOnevision(Family):
    """`LlavaOnevisionForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"
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
        """Images by base view, tile and separators; clips by frame, with the final separator apart."""
        config = core.config
        if modality == "video":
            side = config.vision_config.image_size // config.vision_config.patch_size
            clips, frames = arguments["pixel_values_videos"].shape[:2]
            lengths = torch.tensor([math.ceil(side / 2) ** 2] * frames + [1])
            return [torch.arange(frames + 1).repeat_interleave(lengths)] * clips
        return image_groups(config, *self._layout(core, arguments))

    def vision_layer(self, core: Any) -> Any:
        """The layer that makes the chosen hidden state."""
        return layer_of_state(vision_encoder(core).layers, core.config.vision_feature_layer)

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """Images packed and frames pooled as features are; 0 at separators."""
        if modality == "image":
            return pack_image_patches(core.config, *self._layout(core, arguments), patches)
        frames = core.apply_pooling(patches).reshape(len(groups), -1, patches.shape[-1])
        return F.pad(frames, (0, 0, 0, 1)).flatten(0, 1)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Frames are squares, cut tiles rectangles."""
        if modality == "video":
            return super().grids(core, modality, arguments, groups)
        return [image_grids(entry) for entry in groups]

    def _layout(self, core: Any, arguments: Mapping[str, Any]) -> tuple[Any, list[bool], Pack]:
        """Sizes of the images, which of them have tiles, and the model's packing."""
        counts, sizes = arguments.get("batch_num_images"), arguments["image_sizes"]
        tiled = [True] * len(sizes)
        if counts is not None:  # of several images each has its base view only
            tiled = [int(count) == 1 for count in counts for _ in range(int(count))]
        ratio = arguments.get("vision_aspect_ratio") or core.config.vision_aspect_ratio
        return (
            sizes,
            tiled,
            lambda parts, sizes, newline: core.pack_image_features(
                parts, sizes, image_newline=newline, vision_aspect_ratio=ratio
            )[0],
        )

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a view, 4 a frame."""
        from transformers import (
            LlavaOnevisionConfig,
            LlavaOnevisionForConditionalGeneration,
            Qwen2Config,
            SiglipVisionConfig,
        )

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
