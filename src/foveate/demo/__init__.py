"""`foveate demo`: the built-in model, its own questions, and a picture of where each token went."""
