"""TokenPacker, coarse to fine (arXiv 2407.02392)."""

from foveate.compress.tokenpacker.module import TokenPacker, TokenPackerConfig

__all__ = ["TokenPacker", "TokenPackerConfig"]
