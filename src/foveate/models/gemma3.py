"""Gemma 3: pooled images whose tokens see each other both ways; most layers look back a window only."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from foveate.models.family import Family, register_family
from foveate.models.tiny import (
    TINY_END,
    TINY_IMAGE,
    TINY_LLM,
    TINY_START,
    TINY_VISION,
    Picture,
    noise,
)
from foveate.models.towers import vision_encoder


@register_family
class Gemma3(Family):
    """`Gemma3ForConditionalGeneration`."""

    model_type = "gemma3"
    model_class = "Gemma3ForConditionalGeneration"
    token_types = "token_type_ids"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """Each run of image tokens is a block, where the model is told the token types."""
        from transformers.models.gemma3.modeling_gemma3 import get_block_sequence_ids_for_mask

        kinds = inputs.get("token_type_ids")
        return None if kinds is None else get_block_sequence_ids_for_mask(kinds).long()

    def vision_layer(self, core: Any) -> Any:
        """The last layer."""
        return vision_encoder(core).layers[-1]

    def tiny(self) -> Any:
        """6 layers of width 64, every third sees everything, the others 24 tokens; 16 tokens an image."""
        from transformers import (
            Gemma3Config,
            Gemma3ForConditionalGeneration,
            Gemma3TextConfig,
            SiglipVisionConfig,
        )

        kinds = (["sliding_attention"] * 2 + ["full_attention"]) * 2
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(
                vision_config=SiglipVisionConfig(
                    **TINY_VISION, image_size=112, vision_use_head=False
                ),
                text_config=Gemma3TextConfig(
                    **TINY_LLM, head_dim=16, sliding_window=24, layer_types=kinds
                ),
                image_token_index=TINY_IMAGE,
                mm_tokens_per_image=16,
            )
        )
        # transformers starts it at zero, so that every picture would look the same
        nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)
        return model.eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """112 x 112 pixels, whatever the size."""
        ids = [TINY_START, *[config.image_token_id] * 16, TINY_END]
        return Picture(ids, {"pixel_values": noise(1, 3, 112, 112, seed=size)})
