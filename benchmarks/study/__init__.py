"""The scaling law of arXiv 2411.03312 measured in small: LLM size against visual tokens."""
