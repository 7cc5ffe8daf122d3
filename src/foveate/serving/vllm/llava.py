"""LLaVA-1.5: each picture is one group."""

from collections.abc import Mapping
from typing import Any

from transformers import PixtralVisionConfig
from vllm.model_executor.models import llava as stock  # pyright: ignore[reportMissingImports]
from vllm.model_executor.models.vision import (  # pyright: ignore[reportMissingImports]
    get_num_selected_vision_tokens,
    get_vision_encoder_info,
)
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.inside.model import PrunableModel
from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.processor import FoveateProcessor
from foveate.serving.vllm.uncovered import guarded_processor


def layout_of(config: Any, modality: str, item: Mapping[str, Any]) -> Layout:
    """All patches of a picture, and [CLS] where the checkpoint hands it on."""
    tower = get_vision_encoder_info(config)
    side = tower.get_patch_grid_length()
    tokens = get_num_selected_vision_tokens(
        tower.get_num_image_tokens(image_width=1, image_height=1),
        config.vision_feature_select_strategy,
    )
    return Layout.even([(side, side) if tokens == side * side else (1, tokens)])


class LlavaProcessor(FoveateProcessor, stock.LlavaMultiModalProcessor):
    """LLaVA's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


PIXTRAL = guarded_processor(
    stock.PixtralHFMultiModalProcessor, "LlavaForConditionalGeneration with Pixtral's tower"
)


def processor(info: Any, dummy_inputs: Any) -> Any:
    """Of LLaVA-1.5; Pixtral's checkpoints have the same architecture, and are not covered."""
    is_pixtral = isinstance(info.ctx.get_hf_config().vision_config, PixtralVisionConfig)
    return (PIXTRAL if is_pixtral else LlavaProcessor)(info, dummy_inputs)


@MULTIMODAL_REGISTRY.register_processor(
    processor,
    info=stock._build_llava_or_pixtral_hf_info,
    dummy_inputs=stock.LlavaDummyInputsBuilder,
)
class FoveateLlava(PrunableModel, stock.LlavaForConditionalGeneration):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower."""

    layout_of = staticmethod(layout_of)
