"""foveate in evaluation harnesses: lmms-eval and VLMEvalKit."""
