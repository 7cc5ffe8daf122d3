"""What transformers' own conventions say of a model that nobody has named.

| what | rule |
| --- | --- |
| modalities | each m with a `get_{m}_features` and a placeholder in the config |
| placeholder | `{m}_token_id`, or `{m}_token_index` |
| LLM | `get_decoder()` |
| positions on a grid (M-RoPE) | it has a `get_rope_index` |
| token types | the first of `mm_token_type_ids`, `token_type_ids` in the forward's signature |
| DeepStack | the LLM's forward takes `deepstack_visual_embeds` |

Groups and what depends on them: `foveate.models.groups`.
"""

import inspect
from collections.abc import Iterator
from typing import Any

MODALITIES = ("image", "video")
TOKEN_TYPES = ("mm_token_type_ids", "token_type_ids")
DEEPSTACK = ("visual_pos_masks", "deepstack_visual_embeds")


def placeholder(config: Any, modality: str) -> int | None:
    """The token that stands for a modality in `input_ids`; None if the config names none."""
    names = (f"{modality}_token_id", f"{modality}_token_index")
    tokens = (getattr(config, name, None) for name in names)
    return next((token for token in tokens if isinstance(token, int)), None)


def parameters(module: Any) -> tuple[str, ...]:
    """Names of what a module's forward takes."""
    return tuple(inspect.signature(type(module).forward).parameters)


def stated(model: Any) -> dict[str, Any]:
    """What the rules say of a model, by the names that `Family` has for it.

    Args:
        model: a whole model, of which `faults` finds none.
    """
    core = model.model
    taken = parameters(core)
    return {
        "modalities": modalities(core),
        "grid_positions": hasattr(core, "get_rope_index"),
        "token_types": next((name for name in TOKEN_TYPES if name in taken), None),
        "llm_arguments": tuple(n for n in DEEPSTACK if n in parameters(core.get_decoder())),
    }


def modalities(core: Any) -> tuple[str, ...]:
    """Those that a core encodes and has a placeholder for."""
    return tuple(
        kind
        for kind in MODALITIES
        if hasattr(core, f"get_{kind}_features") and placeholder(core.config, kind) is not None
    )


def faults(model: Any) -> Iterator[str]:
    """What keeps the rules from deciding about a model, each in a few words."""
    config, core = model.config, getattr(model, "model", None)
    if getattr(config, "is_encoder_decoder", False):
        yield "it is an encoder-decoder: visual tokens are no rows of its decoder"
    if core is None:
        yield "it has no .model inside its language head"
        return
    if not hasattr(core, "get_image_features"):
        yield f"{type(core).__name__} has no get_image_features"
    elif not modalities(core):
        yield f"its config has no image_token_id (fields: {_tokens(config)})"
    if "pixel_values_videos" in parameters(core) and not hasattr(core, "get_video_features"):
        yield "its clips go through get_image_features, so they cannot be told from images"
    decoder = getattr(core, "get_decoder", lambda: None)()
    if decoder is None or not hasattr(decoder, "layers"):
        yield "get_decoder() finds no LLM with layers"
    elif any("cross_attn" in name for name, _ in decoder.named_modules()):
        yield "pictures reach its LLM by cross-attention: they are no rows of it"
    if "token_type_ids" in parameters(core):
        yield "it takes token_type_ids, by which attention may run both ways"


def _tokens(config: Any) -> str:
    found = [name for name, value in vars(config).items() if "token" in name and value is not None]
    return ", ".join(sorted(found)) or "none"
