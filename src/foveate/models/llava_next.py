"""LLaVA-NeXT (LLaVA-1.6): a base view and tiles in one grid, each row closed by a separator."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

from foveate.models.anyres import PINPOINTS, anyres_batch, anyres_picture, image_groups
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VISION, Picture


@register_family
class LlavaNext(Family):
    """`LlavaNextForConditionalGeneration`."""

    model_type = "llava_next"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images only."""
        return {"image": config.image_token_id}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """Base view, each tile, and the row separators of an image are groups of their own."""
        sizes = arguments["image_sizes"]
        return image_groups(
            core.config,
            sizes,
            [True] * len(sizes),
            lambda labels, sizes, newline: core.pack_image_features(
                labels, sizes, vision_feature_select_strategy="full", image_newline=newline
            )[0],
        )

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a view."""
        return LlavaNextForConditionalGeneration(
            LlavaNextConfig(
                vision_config=CLIPVisionConfig(**TINY_VISION, image_size=56, projection_dim=32),
                text_config=LlamaConfig(**TINY_LLM),
                image_token_index=TINY_IMAGE,
                image_grid_pinpoints=PINPOINTS,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of four shapes."""
        return anyres_picture(config, size)

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Images padded to the most tiles."""
        return anyres_batch(samples)
