"""Qwen2.5-VL: Qwen2-VL with windowed vision attention and time in seconds."""

from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from foveate.models.family import register_family
from foveate.models.qwen2_vl import TINY_IDS, TINY_TEXT, Qwen2VL


@register_family
class Qwen25VL(Qwen2VL):
    """`Qwen2_5_VLForConditionalGeneration`: images, clips, and mixes."""

    model_type = "qwen2_5_vl"

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 28 x 28 pixels of two frames."""
        vision = {
            "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
            "num_heads": 2, "fullatt_block_indexes": [1],
        }  # fmt: skip
        return Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(vision_config=vision, text_config=TINY_TEXT, **TINY_IDS)
        ).eval()
