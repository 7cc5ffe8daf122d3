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

from foveate.errors import UnsupportedError
from foveate.serving.vllm.budget import Switch
from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.model import FoveateModel
from foveate.serving.vllm.processor import FoveateProcessor


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


def processor(info: Any, dummy_inputs: Any) -> Any:
    """Of LLaVA-1.5; Pixtral's checkpoints have the same architecture, and are served as they are.

    Raises:
        UnsupportedError: Pixtral's tower in an engine that was started with the key.
    """
    if not isinstance(info.ctx.get_hf_config().vision_config, PixtralVisionConfig):
        return LlavaProcessor(info, dummy_inputs)
    if Switch.of(info.ctx.get_hf_config()).is_on:
        raise UnsupportedError(
            "foveate's plug-in knows LLaVA with CLIP or SigLIP towers, not Pixtral's"
        )
    return stock.PixtralHFMultiModalProcessor(info, dummy_inputs)


@MULTIMODAL_REGISTRY.register_processor(
    processor,
    info=stock._build_llava_or_pixtral_hf_info,
    dummy_inputs=stock.LlavaDummyInputsBuilder,
)
class FoveateLlava(FoveateModel, stock.LlavaForConditionalGeneration):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower."""

    layout_of = staticmethod(layout_of)
