"""Qwen3-VL: a clip's frames have their times written before them; DeepStack's columns go along."""

from vllm.model_executor.models import qwen3_vl as stock  # pyright: ignore[reportMissingImports]
from vllm.multimodal import MULTIMODAL_REGISTRY  # pyright: ignore[reportMissingImports]

from foveate.serving.vllm.grid import GridModel, layout_of
from foveate.serving.vllm.processor import FoveateProcessor


class Qwen3VLProcessor(FoveateProcessor, stock.Qwen3VLMultiModalProcessor):
    """Qwen3-VL's own processor, under budgets."""

    layout_of = staticmethod(layout_of)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLProcessor,
    info=stock.Qwen3VLProcessingInfo,
    dummy_inputs=stock.Qwen3VLDummyInputsBuilder,
)
class FoveateQwen3VL(GridModel, stock.Qwen3VLForConditionalGeneration):
    """`Qwen3VLForConditionalGeneration`."""

    frames_apart = True

    @property
    def method_width(self) -> int:
        """Columns of the features at the LLM's input, which methods see."""
        return self.visual_dim

    @property
    def feature_width(self) -> int:
        """These, and DeepStack's."""
        return self.visual_dim + self.multiscale_dim
