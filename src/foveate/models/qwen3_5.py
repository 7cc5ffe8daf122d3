"""Qwen3.5 and Qwen3.6: Qwen3-VL's pictures; three layers in four are linear attention."""

from typing import Any, ClassVar

from foveate.models.family import register_family
from foveate.models.qwen2_vl import TINY_IDS, TINY_TEXT
from foveate.models.qwen3_vl import Qwen3VL

TINY_HYBRID: dict[str, Any] = {
    **TINY_TEXT, "head_dim": 16, "layer_types": ["full_attention", "linear_attention"] * 3,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
TINY_EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}  # fmt: skip


@register_family
class Qwen35(Qwen3VL):
    """`Qwen3_5ForConditionalGeneration`: images, clips, and mixes; without DeepStack."""

    model_type = "qwen3_5"
    model_class = "Qwen3_5ForConditionalGeneration"
    llm_arguments = ()
    tiny_text: ClassVar[dict[str, Any]] = TINY_HYBRID

    def tiny(self) -> Any:
        """6 layers of width 64, every other one without attention; a visual token for 32 x 32 pixels."""
        import transformers

        vision = {
            "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48,
            "num_heads": 2, "num_position_embeddings": 64,
        }  # fmt: skip
        config = getattr(
            transformers, self.model_class.replace("ForConditionalGeneration", "Config")
        )
        return getattr(transformers, self.model_class)(
            config(vision_config=vision, text_config=self.tiny_text, **TINY_IDS)
        ).eval()


@register_family
class Qwen35Moe(Qwen35):
    """`Qwen3_5MoeForConditionalGeneration`: the same with experts."""

    model_type = "qwen3_5_moe"
    model_class = "Qwen3_5MoeForConditionalGeneration"
    tiny_text: ClassVar[dict[str, Any]] = {**TINY_HYBRID, **TINY_EXPERTS}
