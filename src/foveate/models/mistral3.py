"""Mistral 3 (Pixtral tower): images of any size as one grid with row breaks between its tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_END, TINY_IMAGE, TINY_LLM, TINY_VISION, Picture, noise, stacked
from foveate.models.towers import layer_of_state

BREAK = 124


@register_family
class Mistral3(Family):
    """`Mistral3ForConditionalGeneration`; row breaks are text tokens and stay."""

    model_type = "mistral3"
    model_class = "Mistral3ForConditionalGeneration"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def vision_layer(self, core: Any) -> Any:
        """The layer that makes the chosen hidden state."""
        layers = core.vision_tower.transformer.layers
        return layer_of_state(layers, core.config.vision_feature_layer)

    def packed(self, core: Any, modality: str, arguments: Mapping[str, Any]) -> list[int]:
        """All images are one sequence."""
        return [rows * columns for rows, columns in _patch_grids(core, arguments)]

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """A token is a square block of patches."""
        block, tokens = core.config.spatial_merge_size, []
        lengths = self.packed(core, modality, arguments)
        images = patches[0].split(lengths)
        for image, grid in zip(images, _patch_grids(core, arguments), strict=True):
            pooled_image = F.avg_pool2d(image.mT.unflatten(1, grid), block)
            tokens.append(pooled_image.flatten(1).mT)
        return torch.cat(tokens)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Images have shapes of their own."""
        block = core.config.spatial_merge_size
        return [
            [(rows // block, columns // block)] for rows, columns in _patch_grids(core, arguments)
        ]

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 28 x 28 pixels."""
        from transformers import (
            Mistral3Config,
            Mistral3ForConditionalGeneration,
            MistralConfig,
            PixtralVisionConfig,
        )

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


def _patch_grids(core: Any, arguments: Mapping[str, Any]) -> list[tuple[int, int]]:
    patch = core.vision_tower.patch_size
    return [(int(high) // patch, int(wide) // patch) for high, wide in arguments["image_sizes"]]
