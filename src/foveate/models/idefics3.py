"""Idefics3 and SmolVLM: tiles of one length, several a sample, with text between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.models.family import Family, register_family
from foveate.models.tiny import (
    TINY_END,
    TINY_IMAGE,
    TINY_LLM,
    TINY_START,
    TINY_VISION,
    Picture,
    noise,
    padded,
)


@register_family
class Idefics3(Family):
    """`Idefics3ForConditionalGeneration`."""

    model_type = "idefics3"
    model_class = "Idefics3ForConditionalGeneration"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images; SmolVLM's processor lays clips out as images too."""
        return {"image": config.image_token_id}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """An entry holds all tiles of a sample; a group a tile."""
        return [torch.arange(len(entry)) // core.image_seq_len for entry in pooled]

    def language_model(self, core: Any) -> Any:
        """`text_model`."""
        return core.text_model

    def vision_layer(self, core: Any) -> Any:
        """The last layer."""
        return core.vision_model.encoder.layers[-1]

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a tile."""
        from transformers import (
            Idefics3Config,
            Idefics3ForConditionalGeneration,
            Idefics3VisionConfig,
            LlamaConfig,
        )

        return Idefics3ForConditionalGeneration(
            Idefics3Config(
                vision_config=Idefics3VisionConfig(**TINY_VISION, image_size=112),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_id=TINY_IMAGE,
                scale_factor=2,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """An image of 1 to 3 tiles."""
        tiles = 3 - size % 3
        ids = [TINY_START, *[config.image_token_id] * 16, TINY_END]
        return Picture(ids * tiles, {"pixel_values": noise(tiles, 3, 112, 112, seed=size)})

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """(B, most tiles, 3, H, W), missing tiles black."""
        if not any(samples):
            return {}
        empty = torch.zeros(0, 3, 112, 112)
        tiles = [torch.cat([empty, *[p.tensors["pixel_values"] for p in s]]) for s in samples]
        return {"pixel_values": torch.stack(padded(tiles, [0]))}
