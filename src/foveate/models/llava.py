"""LLaVA-1.5: one group an image, no separators."""

from typing import Any

from foveate.errors import UnsupportedError
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VISION, Picture, noise
from foveate.models.towers import layer_of_state, vision_encoder


@register_family
class Llava(Family):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower."""

    model_type = "llava"
    model_class = "LlavaForConditionalGeneration"
    merge_at = ("llm", "encoder", "encoder keys")

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def projector(self, core: Any) -> Any:
        """`multi_modal_projector`."""
        return core.multi_modal_projector

    def encoder_keys(self, core: Any) -> Any:
        """`k_proj` of the vision layer whose input is the chosen hidden state."""
        chosen, layers = core.config.vision_feature_layer, vision_encoder(core).layers
        index = chosen if isinstance(chosen, int) and chosen >= 0 else chosen + len(layers) + 1
        if index >= len(layers):
            raise UnsupportedError(
                f"no vision layer reads hidden state {chosen!r}, so it has no keys"
            )
        return layers[index].self_attn.k_proj

    def vision_layer(self, core: Any) -> Any:
        """The layer that makes the chosen hidden state."""
        return layer_of_state(vision_encoder(core).layers, core.config.vision_feature_layer)

    def tiny(self) -> Any:
        """6 layers of width 64; 64 visual tokens an image."""
        from transformers import (
            CLIPVisionConfig,
            LlamaConfig,
            LlavaConfig,
            LlavaForConditionalGeneration,
        )

        return LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(**TINY_VISION, image_size=112, projection_dim=32),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_index=TINY_IMAGE,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """112 x 112 pixels, whatever the size."""
        return Picture(
            [config.image_token_id] * 64, {"pixel_values": noise(1, 3, 112, 112, seed=size)}
        )
