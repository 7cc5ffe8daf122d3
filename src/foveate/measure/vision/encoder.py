"""The public name of what is shown, which others import; it stands in `foveate.cost.vision.encoder`."""

from foveate.cost.vision.encoder import Media

__all__ = ["Media"]
