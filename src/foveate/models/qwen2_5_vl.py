"""Qwen2.5-VL: Qwen2-VL with windowed vision attention and time in seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from foveate.models.family import register_family
from foveate.models.qwen2_vl import TINY_IDS, TINY_TEXT, Qwen2VL, patch_grids


@register_family
class Qwen25VL(Qwen2VL):
    """`Qwen2_5_VLForConditionalGeneration`: images, clips, and mixes."""

    model_type = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """As in Qwen2-VL, but the encoder computes window by window."""
        from transformers.vision_utils import get_vision_window_index

        visual = core.visual
        order, _ = get_vision_window_index(
            patch_grids(modality, arguments),
            spatial_merge_size=visual.spatial_merge_size,
            window_size=visual.window_size,
            patch_size=visual.patch_size,
        )
        tokens = super().pool_patches_to_tokens(core, modality, arguments, patches, groups)
        return tokens[order.argsort().to(tokens.device)]

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 28 x 28 pixels of two frames."""
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        vision = {
            "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
            "num_heads": 2, "fullatt_block_indexes": [1],
        }  # fmt: skip
        return Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(vision_config=vision, text_config=TINY_TEXT, **TINY_IDS)
        ).eval()
