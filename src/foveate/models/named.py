"""The families that transformers' conventions alone carry, each a row: nothing else is said of them.

Their tiny models are in `foveate.models.tiny.models`.
"""

from foveate.models.family import Family
from foveate.models.rules import DEEPSTACK

BOTH = {"modalities": ("image", "video")}
ON_GRID = {"grid_positions": True, "token_types": "mm_token_type_ids"}
DEEP = {"llm_arguments": DEEPSTACK}

NAMED = (
    Family(model_type="llava_next", model_class="LlavaNextForConditionalGeneration"),
    Family(
        model_type="llava_next_video", model_class="LlavaNextVideoForConditionalGeneration", **BOTH
    ),
    Family(
        model_type="llava_onevision", model_class="LlavaOnevisionForConditionalGeneration", **BOTH
    ),
    Family(model_type="mistral3", model_class="Mistral3ForConditionalGeneration"),
    Family(model_type="qwen2_vl", model_class="Qwen2VLForConditionalGeneration", **BOTH, **ON_GRID),
    Family(
        model_type="qwen2_5_vl", model_class="Qwen2_5_VLForConditionalGeneration", **BOTH, **ON_GRID
    ),
    Family(
        model_type="qwen3_vl",
        model_class="Qwen3VLForConditionalGeneration",
        **BOTH,
        **ON_GRID,
        **DEEP,
    ),
)
