"""Average pooling, the plainest compressor there is."""

from foveate.compress.average_pool.module import AveragePool, AveragePoolConfig

__all__ = ["AveragePool", "AveragePoolConfig"]
