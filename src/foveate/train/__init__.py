"""`foveate train`: put a compressor into a model, or teach one to read what a reduction leaves."""

from foveate.train.adapt import adapt
from foveate.train.run import train
from foveate.train.settings import Adaptation, Recipe, Stage

__all__ = ["Adaptation", "Recipe", "Stage", "adapt", "train"]
