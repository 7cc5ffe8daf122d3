"""What `foveate.reduce` must know of a compressed model: each view or frame is a group."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.models.anyres import PINPOINTS
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VIDEO, TINY_VISION, Picture, noise

SIDE, PER_VIEW = 56, 16


@register_family
class Compressed(Family):
    """`CompressedForConditionalGeneration`: images, several images, videos, and mixes."""

    model_type = "foveate_compressed"
    model_class = "CompressedForConditionalGeneration"
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
        """Each view of an image, each frame of a clip."""
        if modality == "video":
            views = [arguments["pixel_values_videos"].shape[1]] * len(pooled)
        else:
            sizes, counts = arguments.get("image_sizes"), arguments.get("batch_num_images")
            views = core.views(sizes, counts, len(pooled))
        return [
            torch.arange(count).repeat_interleave(len(entry) // count)
            for entry, count in zip(pooled, views, strict=True)
        ]

    def question_flops(self, config: Any, inputs: Mapping[str, Any]) -> list[int]:
        """For a compressor that looks at the question; none for others."""
        if config.query_encoding == "none":
            return super().question_flops(config, inputs)
        from foveate.models.compressed.question import question_flops

        lengths = inputs["query_mask"].sum(1).tolist()
        return [question_flops(config.text_config, config.query_encoding, n) for n in lengths]

    def tiny(self) -> Any:
        """6 layers of width 64; MQT, 16 visual tokens a view or frame."""
        from transformers import Qwen2Config, SiglipVisionConfig

        from foveate.models.compressed import CompressedConfig, CompressedForConditionalGeneration

        return CompressedForConditionalGeneration(
            CompressedConfig(
                vision_config=SiglipVisionConfig(
                    **TINY_VISION, image_size=SIDE, vision_use_head=False
                ),
                text_config=Qwen2Config(**TINY_LLM),
                image_token_index=TINY_IMAGE,
                video_token_index=TINY_VIDEO,
                image_grid_pinpoints=PINPOINTS,
                vision_feature_layer=-1,
                compressor={"name": "mqt", "most": PER_VIEW, "heads": 2},
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """A view of an image; a clip of 3 frames."""
        if modality == "video":
            pixels = noise(1, 3, 3, SIDE, SIDE, seed=size)
            return Picture(
                [config.video_token_id] * (3 * PER_VIEW), {"pixel_values_videos": pixels}
            )
        tensors = {
            "pixel_values": noise(1, 1, 3, SIDE, SIDE, seed=size),
            "image_sizes": torch.tensor([(SIDE, SIDE)]),
        }
        return Picture([config.image_token_id] * PER_VIEW, tensors)
