"""`foveate train`: put a learned compressor into a model and train it, as LLaVA does, in two stages."""

from foveate.train.run import train
from foveate.train.settings import Recipe, Stage

__all__ = ["Recipe", "Stage", "train"]
