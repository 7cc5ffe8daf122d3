"""Records: what every run writes line by line, how to read it, and how to summarize it."""
