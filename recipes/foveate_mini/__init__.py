"""foveate-mini: the small model we ship, made from nothing by `recipes/foveate_mini`."""
