"""LLaVA-NeXT: a base view, tiles and row separators."""

from collections.abc import Mapping
from typing import Any

from transformers import LlavaNextModel
from vllm.model_executor.models import llava_next as stock  # pyright: ignore[reportMissingImports]
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.inside.model import PrunableModel
from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.processor import FoveateProcessor
from foveate.serving.vllm.tiled import picture_layout


def layout_of(config: Any, modality: str, item: Mapping[str, Any]) -> Layout:
    """As transformers packs a picture of that size."""
    return picture_layout(config, LlavaNextModel, item["image_sizes"])


class LlavaNextProcessor(FoveateProcessor, stock.LlavaNextMultiModalProcessor):
    """LLaVA-NeXT's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


@MULTIMODAL_REGISTRY.register_processor(
    LlavaNextProcessor,
    info=stock.LlavaNextProcessingInfo,
    dummy_inputs=stock.LlavaDummyInputsBuilder,
)
class FoveateLlavaNext(PrunableModel, stock.LlavaNextForConditionalGeneration):
    """`LlavaNextForConditionalGeneration`."""

    layout_of = staticmethod(layout_of)
    item_fields = ("image_sizes",)
