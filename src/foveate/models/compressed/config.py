"""What a compressed model's config.json says beyond LLaVA-OneVision's."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlavaOnevisionConfig

from foveate.compress.learned import LearnedCompressor, build
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


def build_compressor(config: Any) -> LearnedCompressor:
    """The compressor that a config describes.

    Raises:
        InputError: an unknown name or setting; layers or a query that it needs and the config lacks;
            layers that the tower lacks.
    """
    vision, knobs = config.vision_config, dict(config.compressor or {})
    depth, layers = vision.num_hidden_layers, config.multi_level_layers or ()
    if not all(-depth - 1 <= layer <= depth for layer in layers):
        raise InputError(
            f"multi_level_layers must be from {-depth - 1} to {depth}, got {list(layers)}"
        )
    name = knobs.pop("name", None)
    width = vision.hidden_size
    made = build(
        str(name),
        grid=vision.image_size // vision.patch_size,
        width=width,
        multi_level_width=width * len(layers),
        text_width=0 if config.query_encoding == "none" else config.text_config.hidden_size,
        **knobs,
    )
    if config.query_encoding != "none" and "text" not in made.needs:
        raise InputError(f'{name} does not look at the question: query_encoding must be "none"')
    made.count(tokens=config.visual_tokens)
    return made
