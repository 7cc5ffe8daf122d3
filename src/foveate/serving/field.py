"""Where a request writes its budget, in every server: `"mm_processor_kwargs": {"foveate": ...}`."""

KWARGS, KEY = "mm_processor_kwargs", "foveate"
