"""A linear layer over the patches of a region; with kernel 1 over each patch."""

from foveate.compress.pixel_shuffle.module import PixelShuffle, PixelShuffleConfig

__all__ = ["PixelShuffle", "PixelShuffleConfig"]
