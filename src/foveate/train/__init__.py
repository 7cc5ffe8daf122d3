"""Training: the data made here, and the recipes of what we ship."""
