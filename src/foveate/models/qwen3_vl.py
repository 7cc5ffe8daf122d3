"""Qwen3-VL: Qwen2-VL's grids, DeepStack features behind the first layers, clips with timestamps."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from foveate.models.family import register_family
from foveate.models.qwen2_vl import TINY_IDS, TINY_TEXT, Qwen2VL
from foveate.models.tiny import TINY_END, TINY_START

STAMP = 9  # stands for a timestamp's text


@register_family
class Qwen3VL(Qwen2VL):
    """`Qwen3VLForConditionalGeneration`: images, clips, and mixes."""

    model_type = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"

    llm_arguments = ("visual_pos_masks", "deepstack_visual_embeds")

    def deepstack(self, arguments: dict[str, Any]) -> list[Float[Tensor, "V D"]]:
        """`deepstack_visual_embeds`, with the mask that places them."""
        arguments["visual_pos_masks"] = None
        return arguments.pop("deepstack_visual_embeds", None) or []

    def tiny(self) -> Any:
        """6 layers of width 64; a visual token for 32 x 32 pixels of two frames, two DeepStack layers."""
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        vision = {
            "depth": 3, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
            "num_heads": 2, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        }  # fmt: skip
        return Qwen3VLForConditionalGeneration(
            Qwen3VLConfig(
                vision_config=vision, text_config={**TINY_TEXT, "head_dim": 16}, **TINY_IDS
            )
        ).eval()

    def tiny_ids(self, placeholder: int, steps: int, tokens: int) -> list[int]:
        """Each time step is wrapped on its own, a clip's steps behind a timestamp."""
        step = [TINY_START, *[placeholder] * tokens, TINY_END]
        return step if steps == 1 else [STAMP, *step] * steps
