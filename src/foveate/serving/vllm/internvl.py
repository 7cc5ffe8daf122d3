"""InternVL: tiles of one size; a clip's frames are tiles with text between them."""

from collections.abc import Mapping
from typing import Any

from vllm.model_executor.models import interns1 as stock  # pyright: ignore[reportMissingImports]
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.inside.model import PrunableModel
from foveate.serving.vllm.layout import Layout
from foveate.serving.vllm.processor import FoveateProcessor


def layout_of(config: Any, modality: str, item: Mapping[str, Any]) -> Layout:
    """Each tile or frame is a group."""
    vision = config.vision_config
    rows, columns = (
        int(size // patch * config.downsample_ratio)
        for size, patch in zip(vision.image_size, vision.patch_size, strict=True)
    )
    tiles = int(item[f"{modality}_num_patches"])
    return Layout.even([(rows, columns)] * tiles, is_clip=modality == "video")


class InternVLProcessor(FoveateProcessor, stock.InternS1MultiModalProcessor):
    """InternVL's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


@MULTIMODAL_REGISTRY.register_processor(
    InternVLProcessor,
    info=stock.InternS1ProcessingInfo,
    dummy_inputs=stock.InternS1DummyInputsBuilder,
)
class FoveateInternVL(PrunableModel, stock.InternS1ForConditionalGeneration):
    """`InternVLForConditionalGeneration` in transformers' layout of checkpoints."""

    layout_of = staticmethod(layout_of)
    item_fields = ("image_num_patches", "video_num_patches")

    def pixel_rows(self, modality: str, item: Mapping[str, Any]) -> int:
        """Tiles or frames: those of all items stand one behind the other."""
        return int(item[f"{modality}_num_patches"])
