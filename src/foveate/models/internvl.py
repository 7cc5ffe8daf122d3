"""InternVL: tiles (or frames) of pixel-shuffled tokens, one group each, wrapped by text."""

from typing import Any

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
from foveate.models.towers import layer_of_state


@register_family
class InternVL(Family):
    """`InternVLForConditionalGeneration`; its processor lays clips out as images."""

    model_type = "internvl"
    model_class = "InternVLForConditionalGeneration"
    merge_at = ("llm", "encoder")

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images and frames alike."""
        return {"image": config.image_token_id}

    def projector(self, core: Any) -> Any:
        """`multi_modal_projector`."""
        return core.multi_modal_projector

    def vision_layer(self, core: Any) -> Any:
        """The layer that makes the chosen hidden state."""
        return layer_of_state(core.vision_tower.encoder.layer, core.config.vision_feature_layer)

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a tile."""
        from transformers import (
            InternVLConfig,
            InternVLForConditionalGeneration,
            InternVLVisionConfig,
            Qwen2Config,
        )

        vision: dict[str, Any] = {**TINY_VISION, "patch_size": [14, 14], "image_size": [112, 112]}
        return InternVLForConditionalGeneration(
            InternVLConfig(
                vision_config=InternVLVisionConfig(**vision),
                text_config=Qwen2Config(**TINY_LLM),
                image_token_id=TINY_IMAGE,
                image_seq_length=16,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """An image of 1 to 3 tiles."""
        tiles = 3 - size % 3
        ids = [TINY_START, *[config.image_token_id] * 16, TINY_END]
        return Picture(ids * tiles, {"pixel_values": noise(tiles, 3, 112, 112, seed=size)})
