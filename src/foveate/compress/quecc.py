"""QueCC's public door: the compressor of arXiv 2411.03312, section 4."""

from foveate.compress.learned.quecc import QueCC, QueCCConfig, convert_reference_state

__all__ = ["QueCC", "QueCCConfig", "convert_reference_state"]
