"""How well a model answers at what cost: runs, their questions, reports, analyses."""
