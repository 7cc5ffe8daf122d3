"""Methods before and inside the LLM at once: one file each, a method of `compress` with one of `prune`."""
