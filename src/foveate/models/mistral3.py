"""Mistral 3 (Pixtral tower): images of any size as one grid with row breaks between its tokens."""

from typing import Any

import torch
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
)

from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_END, TINY_IMAGE, TINY_LLM, TINY_VISION, Picture, noise, stacked

BREAK = 124


@register_family
class Mistral3(Family):
    """`Mistral3ForConditionalGeneration`; row breaks are text tokens and stay."""

    model_type = "mistral3"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 28 x 28 pixels."""
        return Mistral3ForConditionalGeneration(
            Mistral3Config(
                vision_config=PixtralVisionConfig(**TINY_VISION, image_size=224),
                text_config=MistralConfig(**TINY_LLM, head_dim=16, sliding_window=None),
                image_token_index=TINY_IMAGE,
                spatial_merge_size=2,
                vision_feature_layer=-1,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of three shapes, a break after each row but the last."""
        rows, columns = ((6, 8), (4, 5), (7, 4))[size % 3]
        row = [config.image_token_id] * columns
        ids = [*row, BREAK] * (rows - 1) + [*row, TINY_END]
        height, width = 28 * rows, 28 * columns
        tensors = {
            "pixel_values": noise(1, 3, height, width, seed=size),
            "image_sizes": torch.tensor([[height, width]]),
        }
        return Picture(ids, tensors)

    def tiny_collate(self, samples: Any) -> dict[str, torch.Tensor]:
        """Images padded to the largest height and width."""
        return stacked(samples, {"pixel_values": [2, 3]})
