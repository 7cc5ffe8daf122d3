"""Query tokens of elastic number, MQT (arXiv 2405.19315)."""

from foveate.compress.mqt.module import MQT, MQTConfig

__all__ = ["MQT", "MQTConfig"]
