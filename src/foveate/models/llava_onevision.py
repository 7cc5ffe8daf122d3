"""LLaVA-OneVision: a clip ends in a separator, which transformers 5.17 adds behind the features."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.models.family import Family, register_family


@register_family
class LlavaOnevision(Family):
    """`LlavaOnevisionForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"
    modalities = ("image", "video")

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """Of a clip each frame, pooled by half a side, and the separator, be it there yet or not."""
        if modality == "image":
            return super().groups(core, modality, arguments, pooled)
        vision = core.config.vision_config
        side = vision.image_size // vision.patch_size
        clips, frames = arguments["pixel_values_videos"].shape[:2]
        lengths = torch.tensor([math.ceil(side / 2) ** 2] * frames + [1])
        return [torch.arange(frames + 1).repeat_interleave(lengths)] * clips
