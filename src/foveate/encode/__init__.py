"""Methods that act inside the vision encoder: one file each, they see tensors and never a model."""
