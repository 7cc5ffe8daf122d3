"""LLaVA-1.5: one group an image, no separators."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from foveate.errors import UnsupportedError
from foveate.models.family import Family, register_family


@register_family
class Llava(Family):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower: equally many tokens an image."""

    model_type = "llava"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def groups(
        self, core: Any, modality: str, arguments: Mapping[str, Any]
    ) -> list[Int[Tensor, " _"]]:
        """One group of `config.image_seq_length` tokens an image."""
        if arguments.get("image_sizes") is not None:
            raise UnsupportedError("llava with images of different token counts (Pixtral tower)")
        config = core.config
        patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        tokens = patches + (
            config.vision_feature_select_strategy == "full" and has_class_token(core)
        )
        return [torch.zeros(tokens, dtype=torch.long) for _ in arguments["pixel_values"]]

    def tiny(self) -> Any:
        """6 layers of width 64; 64 visual tokens an image."""
        return LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(**TINY_VISION, image_size=112, projection_dim=32),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_index=TINY_IMAGE,
            )
        ).eval()

    def tiny_inputs(self, config: Any, modality: str) -> dict[str, Tensor]:
        """One 112 x 112 image."""
        return {
            **tiny_prompt(config.image_token_id, 64),
            "pixel_values": tiny_pixels(1, 3, 112, 112),
        }

    def encoder_keys(self, core: Any) -> Any:
        """`k_proj` of the vision layer whose input is the chosen hidden state."""
        chosen, layers = core.config.vision_feature_layer, vision_encoder(core).layers
        index = chosen if isinstance(chosen, int) and chosen >= 0 else chosen + len(layers) + 1
        if index >= len(layers):
            raise UnsupportedError(
                f"no vision layer reads hidden state {chosen!r}, so it has no keys"
            )
        return layers[index].self_attn.k_proj


# what tiny models of several families share
TINY_IMAGE, TINY_VIDEO = 120, 121
TINY_LLM: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}
TINY_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
}


def tiny_prompt(placeholder: int, count: int) -> dict[str, Tensor]:
    """Three text tokens, `count` placeholders, five text tokens."""
    ids = torch.tensor([[1, 2, 3, *[placeholder] * count, 4, 5, 6, 7, 8]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def tiny_pixels(*shape: int) -> Tensor:
    """Seeded noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def vision_encoder(core: Any) -> Any:
    """The stack of layers of a CLIP or SigLIP tower."""
    tower = core.vision_tower
    return tower.encoder if hasattr(tower, "encoder") else tower.vision_model.encoder


def has_class_token(core: Any) -> bool:
    """Whether the tower puts a class token before the patches (CLIP does, SigLIP does not)."""
    return any(name.endswith("class_embedding") for name, _ in core.vision_tower.named_parameters())
