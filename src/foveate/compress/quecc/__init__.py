"""QueCC, query-based convolutional cross-attention (arXiv 2411.03312)."""

from foveate.compress.quecc.module import QueCC, QueCCConfig
from foveate.compress.quecc.reference import convert_reference_state

__all__ = ["QueCC", "QueCCConfig", "convert_reference_state"]
