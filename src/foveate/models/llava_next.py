"""LLaVA-NeXT (LLaVA-1.6): a base view and tiles in one grid, each row closed by a separator."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.anyres import (
    PINPOINTS,
    Pack,
    anyres_batch,
    anyres_picture,
    image_grids,
    image_groups,
    pack_image_patches,
)
from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_IMAGE, TINY_LLM, TINY_VISION, Picture
from foveate.models.towers import layer_of_state, vision_encoder


@register_family
class LlavaNext(Family):
    """`LlavaNextForConditionalGeneration`."""

    model_type = "llava_next"
    model_class = "LlavaNextForConditionalGeneration"

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
        return image_groups(core.config, sizes, [True] * len(sizes), self._pack(core))

    def vision_layer(self, core: Any) -> Any:
        """The layer that makes the chosen hidden state."""
        return layer_of_state(vision_encoder(core).layers, core.config.vision_feature_layer)

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """Packed as features are."""
        sizes = arguments["image_sizes"]
        return pack_image_patches(
            core.config, sizes, [True] * len(sizes), self._pack(core), patches
        )

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Cut tiles are rectangles."""
        return [image_grids(entry) for entry in groups]

    def _pack(self, core: Any) -> Pack:
        return lambda parts, sizes, newline: core.pack_image_features(
            parts, sizes, vision_feature_select_strategy="full", image_newline=newline
        )[0]

    def tiny(self) -> Any:
        """6 layers of width 64; 16 visual tokens a view."""
        from transformers import (
            CLIPVisionConfig,
            LlamaConfig,
            LlavaNextConfig,
            LlavaNextForConditionalGeneration,
        )

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
