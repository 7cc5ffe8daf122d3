"""Learned compressors side by side on foveate-mini's frozen tower: same data, same steps, same LLM."""
