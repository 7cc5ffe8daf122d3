"""Qwen2-VL: images and clips of any size, each token at its own place on a grid in time (M-RoPE)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.family import Family, register_family
from foveate.models.tiny import (
    TINY_END,
    TINY_IMAGE,
    TINY_LLM,
    TINY_START,
    TINY_VIDEO,
    Picture,
    noise,
)

TINY_TEXT: dict[str, Any] = {
    **TINY_LLM,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}
TINY_IDS: dict[str, Any] = {
    "image_token_id": TINY_IMAGE,
    "video_token_id": TINY_VIDEO,
    "vision_start_token_id": TINY_START,
    "vision_end_token_id": TINY_END,
}


@register_family
class Qwen2VL(Family):
    """`Qwen2VLForConditionalGeneration`: images, clips, and mixes."""

    model_type = "qwen2_vl"
    model_class = "Qwen2VLForConditionalGeneration"
    modalities = ("image", "video")
    grid_positions = True
    token_types = "mm_token_type_ids"

    def placeholders(self, config: Any) -> dict[str, int]:
        """Images and videos."""
        return {"image": config.image_token_id, "video": config.video_token_id}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """A group for each time step of the grid: one for an image, one for two frames of a clip."""
        steps_of = patch_grids(modality, arguments)[:, 0].tolist()
        return [
            torch.arange(steps).repeat_interleave(len(entry) // steps)
            for entry, steps in zip(pooled, steps_of, strict=True)
        ]

    def vision_layer(self, core: Any) -> Any:
        """The last block."""
        return core.visual.blocks[-1]

    def packed(self, core: Any, modality: str, arguments: Mapping[str, Any]) -> list[int]:
        """All time steps of all pictures are one sequence."""
        grids = patch_grids(modality, arguments).tolist()
        return [rows * columns for steps, rows, columns in grids for _ in range(steps)]

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """The patches of a token follow each other."""
        return patches[0].unflatten(0, (-1, core.visual.spatial_merge_size**2)).mean(1)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Pictures have shapes of their own, the same in all their time steps."""
        block = core.visual.spatial_merge_size
        return [
            [(rows // block, columns // block)] * steps
            for steps, rows, columns in patch_grids(modality, arguments).tolist()
        ]

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 28 x 28 pixels of two frames."""
        from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

        return Qwen2VLForConditionalGeneration(
            Qwen2VLConfig(
                vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
                text_config=TINY_TEXT,
                **TINY_IDS,
            )
        ).eval()

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """Images of three shapes; clips of 4 and 6 time steps."""
        rows, columns = ((6, 8), (4, 5), (7, 4))[size % 3]
        steps = 1 if modality == "image" else (4, 6)[size % 2]
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        count = steps * rows * columns
        names = ("pixel_values", "image_grid_thw")
        if modality == "video":
            names = ("pixel_values_videos", "video_grid_thw")
        tensors = (
            noise(4 * count, patch, seed=size),
            torch.tensor([[steps, 2 * rows, 2 * columns]]),
        )
        placeholder = self.placeholders(config)[modality]
        ids = self.tiny_ids(placeholder, steps, rows * columns)
        return Picture(ids, dict(zip(names, tensors, strict=True)))

    def tiny_ids(self, placeholder: int, steps: int, tokens: int) -> list[int]:
        """The tokens of a picture of `steps` time steps of `tokens` each."""
        return [TINY_START, *[placeholder] * (steps * tokens), TINY_END]


def patch_grids(modality: str, arguments: Mapping[str, Any]) -> Int[Tensor, "pictures 3"]:
    """Time steps, rows and columns of the patches of each image or clip."""
    return arguments.get(f"{modality}_grid_thw", arguments.get("image_grid_thw"))
