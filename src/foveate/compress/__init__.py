"""Methods that act before the LLM: one file each, they see tensors and never a model."""
