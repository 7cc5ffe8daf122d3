"""From a budget to a reduction: for a model, for each prompt, for frames, for a size of LLM."""
