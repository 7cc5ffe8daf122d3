"""A LLaVA-OneVision with a learned compressor between tower and projector, as a checkpoint of its own.

Importing this module makes the Auto classes know it; `foveate.load` does so by itself.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from foveate.models.compressed.config import CompressedConfig
from foveate.models.compressed.model import (
    CompressedForConditionalGeneration,
    CompressedModel,
    with_compressor,
)
from foveate.models.compressed.processor import CompressedProcessor, Prompt
from foveate.models.foveate_compressed import Compressed

__all__ = [
    "Compressed",
    "CompressedConfig",
    "CompressedForConditionalGeneration",
    "CompressedModel",
    "CompressedProcessor",
    "Prompt",
    "with_compressor",
]

AutoConfig.register(CompressedConfig.model_type, CompressedConfig, exist_ok=True)
AutoModel.register(CompressedConfig, CompressedModel, exist_ok=True)
AutoModelForImageTextToText.register(
    CompressedConfig, CompressedForConditionalGeneration, exist_ok=True
)
AutoProcessor.register(CompressedConfig, CompressedProcessor, exist_ok=True)
