"""The hooks in a running model, by which tokens are merged, dropped and accounted for."""
