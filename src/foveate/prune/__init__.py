"""Methods that act inside the LLM: one file each, they see tensors and never a model."""
