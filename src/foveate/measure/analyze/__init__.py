"""What a model does with its visual tokens, so that a user of a new one finds its schedule."""
