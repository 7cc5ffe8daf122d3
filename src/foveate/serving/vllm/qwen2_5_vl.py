"""Qwen2.5-VL: the time steps of a clip stand at one another's seconds, without text between them."""

from vllm.model_executor.models import (  # pyright: ignore[reportMissingImports]
    qwen2_5_vl as stock,
)
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.grid import GridModel, layout_of
from foveate.serving.vllm.processor import FoveateProcessor


class Qwen25VLProcessor(FoveateProcessor, stock.Qwen2_5_VLMultiModalProcessor):
    """Qwen2.5-VL's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen25VLProcessor,
    info=stock.Qwen2_5_VLProcessingInfo,
    dummy_inputs=stock.Qwen2_5_VLDummyInputsBuilder,
)
class FoveateQwen25VL(GridModel, stock.Qwen2_5_VLForConditionalGeneration):
    """`Qwen2_5_VLForConditionalGeneration`."""

    @property
    def feature_width(self) -> int:
        """That of the LLM."""
        return self.config.vision_config.out_hidden_size
