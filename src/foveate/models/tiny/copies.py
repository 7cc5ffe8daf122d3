"""A small random copy of any checkpoint: its config with fewer and narrower layers."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from foveate.errors import InputError

LAYERS = 6
DEPTHS = ("num_hidden_layers", "depth", "num_layers")  # of a vision tower, whatever it says
NARROW = {  # what depends on nothing else
    "intermediate_size": 96, "moe_intermediate_size": 32, "dense_intermediate_size": 96,
    "shared_intermediate_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "moe_num_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2, "n_group": 1, "topk_group": 1,
}  # fmt: skip
WIDTHS = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
VISION_WIDTHS = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 4,
}
VOCAB, QUERIES = 256, 16
SIDE = 32  # patches, at most
SHUFFLES = ("downsample_factor", "scale_factor")  # of the sides of a picture, that must divide them
TEXT_IDS = 10  # the highest id of a drawn prompt's text


def read_config(place: Any) -> Any:
    """The config of a folder or a hub id, as transformers reads it.

    Raises:
        InputError: none is there.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise InputError(f"no config of a model at {str(place)!r}: {error}") from None


def small_copies(config: Any) -> Iterator[Any]:
    """Seeded random models of a config, small where that can be without knowing the family.

    Depth, MLPs, experts and vocabulary are small in all; in the first the widths of LLM and vision tower
    are, too, in the second the LLM's, which not every family can do. What starts at zero in transformers
    is drawn as well, so that pictures matter.

    Raises:
        InputError: transformers can build none.
    """
    from transformers import AutoModelForImageTextToText

    if getattr(config, "vision_config", True) is None:
        raise InputError(
            f"this config of a {config.model_type} has no vision tower (its vision_config is empty); "
            "give that of a checkpoint that takes pictures"
        )
    faults = []
    for widths, vision_widths in ((WIDTHS, VISION_WIDTHS), (WIDTHS, {}), ({}, {})):
        try:
            torch.manual_seed(0)
            small = _smaller(config, widths, vision_widths)
            model = AutoModelForImageTextToText.from_config(small)
        except Exception as error:  # of any kind: config classes check what they like
            faults.append(str(error))
        else:
            yield _drawn(model.float().eval())
    if len(faults) == 3:
        raise InputError(
            f"no small copy of a {config.model_type} can be built: {' '.join(faults[-1].split())}; give "
            "the config of a checkpoint, or the family a tiny model: see docs/guides/new-family.md"
        )


def _smaller(config: Any, widths: dict[str, int], vision_widths: dict[str, int]) -> Any:
    small = copy.deepcopy(config)
    text = small.get_text_config()
    _renumber(small)
    _narrow(text, {**NARROW, **widths})
    _cut(text, "num_hidden_layers", LAYERS)
    rope = getattr(text, "rope_parameters", None)
    vision = getattr(small, "vision_config", None)
    on_grid = hasattr(vision, "spatial_merge_size")  # then models have a section of their own
    if widths and isinstance(rope, dict) and ("mrope_section" in rope or on_grid):
        rope["mrope_section"] = _sections(text, rope)
    if widths and isinstance(getattr(small, "hidden_size", None), int):
        small.hidden_size = text.hidden_size  # of what stands between tower and LLM
    for part in _parts(small):
        if part is not text and part is not vision:
            _shorten(part)
    if vision is not None:
        _narrow(vision, {"intermediate_size": 48, **vision_widths})
        if vision_widths:
            _shrink(vision)
        _fit_patches(small, vision)
        for name in ("out_hidden_size", "projection_dim"):
            if widths and hasattr(vision, name):
                setattr(vision, name, WIDTHS["hidden_size"])
        depth = next((name for name in DEPTHS if isinstance(getattr(vision, name, None), int)), "")
        for name in _indexes(vision) if depth else ():
            setattr(vision, name, list(range(len(getattr(vision, name)))))
        chosen = getattr(small, "vision_feature_layer", -1)
        deepest = max(map(abs, [chosen] if isinstance(chosen, int) else chosen))
        _cut(vision, depth, max(LAYERS, deepest + 1))
    return small


def _sections(text: Any, rope: Any) -> list[int]:
    """How many of a head's frequencies are of time, rows and columns."""
    share = rope.get("partial_rotary_factor") or getattr(text, "partial_rotary_factor", None) or 1
    half = int(WIDTHS["head_dim"] * share) // 2
    time, rows = half // 4, half * 3 // 8
    return [time, rows, half - time - rows]


def _parts(config: Any) -> Iterator[Any]:
    """Configs inside a config, and inside these."""
    from transformers import PreTrainedConfig

    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield value
            yield from _parts(value)


def _shorten(part: Any) -> None:
    """Fewer layers of an encoder, whose widths others may have to fit."""
    _narrow(part, {"intermediate_size": 48, "mlp_dim": 48})
    _cut(
        part,
        next((name for name in DEPTHS if isinstance(getattr(part, name, None), int)), ""),
        LAYERS,
    )
    _shrink(part)


def _shrink(vision: Any) -> None:
    """Pictures of fewer patches."""
    size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if isinstance(size, int) and isinstance(patch, int):
        vision.image_size = min(size, SIDE * patch)


def _renumber(config: Any) -> None:
    """A small vocabulary, and the ids of special tokens at its end, where no text is drawn."""
    ids: dict[int, int] = {}
    size = config.get_text_config().vocab_size
    last = min(size, VOCAB) - 1

    def renumbered(value: Any) -> Any:
        if isinstance(value, list):
            return [renumbered(one) for one in value]
        if not isinstance(value, int) or not TEXT_IDS <= value < size:  # or beyond it: left to fail
            return value
        return ids.setdefault(value, last - len(ids))

    for part in (config, config.get_text_config(), getattr(config, "vision_config", None)):
        for name, value in list(vars(part).items()) if part is not None else ():
            if name.endswith(("_token_id", "_token_ids", "_token_index")):
                setattr(part, name, renumbered(value))
            elif name.startswith("vocab_size"):
                setattr(part, name, min(value, VOCAB))


def _fit_patches(config: Any, vision: Any) -> None:
    """Sides that divide, and where the tokens of an image are told as a count, one that fits."""
    size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if not (isinstance(size, int) and isinstance(patch, int)):
        return
    side = size // patch
    for factor in (getattr(config, name, None) for name in SHUFFLES):
        if isinstance(factor, int):
            side -= side % factor
            vision.image_size = side * patch
    if isinstance(count := getattr(config, "mm_tokens_per_image", None), int):
        config.mm_tokens_per_image = min(count, (side // 2) ** 2)
    if getattr(config, "projector_patch_to_query_dict", None):
        config.projector_patch_to_query_dict = {side**2: QUERIES}


def _narrow(config: Any, sizes: dict[str, int]) -> None:
    """Fields that are there, made no larger."""
    for name, size in sizes.items():
        if isinstance(now := getattr(config, name, None), int):
            setattr(config, name, min(now, size))


def _cut(config: Any, depth: str, layers: int) -> None:
    """Fewer layers, and what is said of each."""
    many = getattr(config, depth, None)
    if not isinstance(many, int) or many <= layers:
        return
    setattr(config, depth, layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == many:
            setattr(config, name, value[:layers])


def _indexes(config: Any) -> Iterator[str]:
    """Fields that list layers of the tower."""
    for name, value in list(vars(config).items()):
        if "index" in name and isinstance(value, (list, tuple)):
            yield name


def _drawn(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.normal_(weight, std=0.1)
    return model
