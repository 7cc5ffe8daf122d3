"""Models that we make, each from nothing: `python -m recipes.foveate_mini`."""
