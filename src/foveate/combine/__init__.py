"""Methods before and inside the LLM: one file each, a method of `compress` with one of `prune`."""
