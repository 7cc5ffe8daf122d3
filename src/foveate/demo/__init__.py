"""`foveate demo`: the built-in model, its own questions, and a picture of what became of each token."""
