"""The tiny foveate-mini of `mini`."""

from mini import _two_threads, fresh, model, processor, stock  # noqa: F401
