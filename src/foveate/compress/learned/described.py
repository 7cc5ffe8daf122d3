"""The compressor that a model's config describes."""

from collections.abc import Mapping
from typing import Any

from foveate.compress.learned.base import LearnedCompressor, build
from foveate.errors import InputError


def build_compressor(config: Any) -> LearnedCompressor:
    """The compressor that a config describes, as transformers reads it or by its plain fields.

    Raises:
        InputError: an unknown name or setting; layers or a query that it needs and the config lacks;
            layers that the tower lacks.
    """
    vision, described = config.vision_config, config.compressor or {}
    knobs = dict(described if isinstance(described, Mapping) else vars(described))
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
