"""Names that servers here share: where a request writes its budget, where chats are asked, variables.

`"mm_processor_kwargs": {"foveate": ...}` is the same field in every server.
"""

KWARGS, KEY = "mm_processor_kwargs", "foveate"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PREFIX = "FOVEATE_"  # of environment variables
