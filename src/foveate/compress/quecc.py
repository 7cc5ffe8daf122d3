"""QueCC (arXiv 2411.03312, section 4) under its public name."""

from foveate.compress.learned.quecc import QueCC, QueCCConfig, convert_reference_state

__all__ = ["QueCC", "QueCCConfig", "convert_reference_state"]
