"""SmolVLM: Idefics3's layout on a small LLM."""

from typing import Any

from foveate.models.family import register_family
from foveate.models.idefics3 import Idefics3
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VISION


@register_family
class SmolVLM(Idefics3):
    """`SmolVLMForConditionalGeneration`, SmolVLM2 included."""

    model_type = "smolvlm"
    model_class = "SmolVLMForConditionalGeneration"

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a tile."""
        from transformers import (
            LlamaConfig,
            SmolVLMConfig,
            SmolVLMForConditionalGeneration,
            SmolVLMVisionConfig,
        )

        return SmolVLMForConditionalGeneration(
            SmolVLMConfig(
                vision_config=SmolVLMVisionConfig(**TINY_VISION, image_size=112),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_id=TINY_IMAGE,
                scale_factor=2,
            )
        ).eval()
