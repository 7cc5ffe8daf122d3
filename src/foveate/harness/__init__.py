"""foveate inside other people's evaluation harnesses: lmms-eval and VLMEvalKit."""
