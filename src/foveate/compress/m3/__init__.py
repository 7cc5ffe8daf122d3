"""Matryoshka pooling, M3 (arXiv 2405.17430)."""

from foveate.compress.m3.module import M3, M3Config

__all__ = ["M3", "M3Config"]
