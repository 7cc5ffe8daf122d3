"""The families that transformers' conventions alone carry, each a row: nothing else is said of them.

Their tiny models are in `foveate.models.tiny.models`.
"""

from typing import Any

from foveate.models.family import Family
from foveate.models.rules import DEEPSTACK

BOTH: dict[str, Any] = {"modalities": ("image", "video")}
ON_GRID: dict[str, Any] = {"grid_positions": True, "token_types": "mm_token_type_ids"}
NO_COST: dict[str, Any] = {"has_cost": False}
CLIPS_AS_IMAGES: dict[str, Any] = {"clips_as_images": True}
DEEP: dict[str, Any] = {"llm_arguments": DEEPSTACK}


def _named(model_type: str, class_start: str, **stated: Any) -> Family:
    model_class = f"{class_start}ForConditionalGeneration"
    return Family(model_type=model_type, model_class=model_class, **stated)


NAMED = (
    _named("aya_vision", "AyaVision"),
    _named("cohere2_vision", "Cohere2Vision"),
    _named("deepseek_vl", "DeepseekVL"),
    _named("deepseek_ocr2", "DeepseekOcr2"),
    _named("exaone4_5", "Exaone4_5_", **NO_COST, **BOTH),
    _named("glm46v", "Glm46V", **BOTH, **ON_GRID, **CLIPS_AS_IMAGES),
    _named("glm4v", "Glm4v", **BOTH, **ON_GRID, **CLIPS_AS_IMAGES),
    _named("glm4v_moe", "Glm4vMoe", **BOTH, **ON_GRID, **CLIPS_AS_IMAGES),
    _named("glm_ocr", "GlmOcr", **BOTH, **ON_GRID, **CLIPS_AS_IMAGES),
    _named("got_ocr2", "GotOcr2", **NO_COST),
    _named("janus", "Janus", **NO_COST),
    _named("kimi_k25", "Kimi_K25", **BOTH, since="5.24"),
    _named("lighton_ocr", "LightOnOcr"),
    _named("llava_next", "LlavaNext"),
    _named("llava_next_video", "LlavaNextVideo", **BOTH),
    _named("minicpmv4_6", "MiniCPMV4_6", **BOTH, since="5.24"),
    _named("mistral3", "Mistral3"),
    _named("ovis2", "Ovis2", **NO_COST),
    _named("paddleocr_vl", "PaddleOCRVL", **ON_GRID),
    _named("qianfan_ocr", "QianfanOCR"),
    _named("qwen2_5_vl", "Qwen2_5_VL", **BOTH, **ON_GRID),
    _named("qwen2_vl", "Qwen2VL", **BOTH, **ON_GRID),
    _named("qwen3_5", "Qwen3_5", **BOTH, **ON_GRID),
    _named("qwen3_5_moe", "Qwen3_5Moe", **BOTH, **ON_GRID),
    _named("qwen3_vl", "Qwen3VL", **BOTH, **ON_GRID, **DEEP),
    _named("qwen3_vl_moe", "Qwen3VLMoe", **BOTH, **ON_GRID, **DEEP),
    _named("step3p7", "Step3p7"),
    _named("video_llava", "VideoLlava", **NO_COST, **BOTH, since="5.23"),
    _named("vipllava", "VipLlava"),
)
