"""LLaVA-OneVision: pictures as LLaVA-NeXT's; of a clip each frame is pooled, and a separator ends it."""

import math
from collections.abc import Mapping
from typing import Any

from transformers import LlavaOnevisionModel
from vllm.model_executor.models import (  # pyright: ignore[reportMissingImports]
    llava_onevision as stock,
)
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.inside.model import PrunableModel
from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.processor import FoveateProcessor
from foveate.serving.vllm.tiled import picture_layout


def layout_of(config: Any, modality: str, item: Mapping[str, Any]) -> Layout:
    """As transformers packs a picture of that size, or a clip of that many frames."""
    if modality == "image":
        return picture_layout(config, LlavaOnevisionModel, item["image_sizes"])
    side = math.ceil(config.vision_config.image_size // config.vision_config.patch_size / 2)
    frames = len(item["pixel_values_videos"])
    return Layout.even([(side, side)] * frames + [(1, 1)], is_clip=True)


class LlavaOnevisionProcessor(FoveateProcessor, stock.LlavaOnevisionMultiModalProcessor):
    """LLaVA-OneVision's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


@MULTIMODAL_REGISTRY.register_processor(
    LlavaOnevisionProcessor,
    info=stock.LlavaOnevisionProcessingInfo,
    dummy_inputs=stock.LlavaOnevisionDummyInputsBuilder,
)
class FoveateLlavaOnevision(PrunableModel, stock.LlavaOnevisionForConditionalGeneration):
    """`LlavaOnevisionForConditionalGeneration`."""

    layout_of = staticmethod(layout_of)
    item_fields = ("image_sizes", "pixel_values_videos")
