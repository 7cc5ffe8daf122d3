"""What a compressed model's config.json says beyond LLaVA-OneVision's."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlavaOnevisionConfig

from foveate.errors import InputError

QUERY_ENCODINGS = ("llm", "embedding", "none")
VIEWS = ("base", "all")


@strict
class CompressedConfig(LlavaOnevisionConfig):
    """LLaVA-OneVision's config with a compressor's.

    Attributes:
        compressor: its `name` and those settings that the model does not know itself: kernel, heads.
        multi_level_layers: vision hidden states side by side, for compressors that look at several; 0 is
            the patch embedding.
        query_encoding: what the question's vector is: "llm", the LLM's last hidden state of its last
            token; "embedding", the mean of its token embeddings; "none".
        views: "base" compresses the whole picture only; "all" its tiles too, each by itself.
        visual_tokens: tokens a view, where the compressor leaves the choice; null = as many as it can.
    """

    model_type = "foveate_compressed"
    __no_type_check__ = True  # `strict` checks the fields, and __init__ takes more than those

    compressor: dict[str, Any] | None = None
    multi_level_layers: list[int] | None = None
    query_encoding: str = "none"
    views: str = "base"
    visual_tokens: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.compressor is None:
            self.compressor = {"name": "average-pool", "kernel": 2}
        if self.query_encoding not in QUERY_ENCODINGS:
            raise InputError(
                f"query_encoding must be one of {QUERY_ENCODINGS}, got {self.query_encoding!r}"
            )
        if self.views not in VIEWS:
            raise InputError(f"views must be one of {VIEWS}, got {self.views!r}")
