"""Learned compressors: modules with weights of their own, one interface, one file each.

A compressor stands between a vision tower and the projector: it takes the patches of B tiles or frames
and gives fewer tokens of the same width. It is trained with its model (`foveate train`), unlike the
methods of `foveate.methods()`, and so stands in a table of its own.
"""

from foveate.compress.learned.base import (
    Learned,
    LearnedCompressor,
    LearnedConfig,
    as_grid,
    build,
    learned,
    register_learned,
)

__all__ = [
    "Learned",
    "LearnedCompressor",
    "LearnedConfig",
    "as_grid",
    "build",
    "learned",
    "register_learned",
]
