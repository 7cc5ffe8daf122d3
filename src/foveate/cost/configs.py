"""Configs without their models: sizes of published ones by name, or a folder's `config.json`.

`models.json` holds the fields of the published `config.json`
files that a cost depends on; a file that leaves some out means its class's defaults, given here.
"""

import json
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from foveate.errors import InputError

_LLAMA = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
_LLAVA = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"}
_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8},
    "qwen2": {**_LLAMA, "intermediate_size": 22016, "vocab_size": 151936},
    "clip_vision_model": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224,
        "patch_size": 32,
    },
    "siglip_vision_model": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224,
        "patch_size": 16,
    },
    "llava": _LLAVA,
    "llava_next": {**_LLAVA, "image_grid_pinpoints": _PINPOINTS},
    "llava_next_video": {
        **_LLAVA, "image_grid_pinpoints": _PINPOINTS, "spatial_pool_mode": "average",
        "spatial_pool_stride": 2,
    },
    "mistral3": {"vision_feature_layer": -1, "spatial_merge_size": 2},
    "pixtral": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 1024, "patch_size": 16,
    },
    "internvl": {"downsample_ratio": 0.5},
    "internvl_vision": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": (448, 448), "patch_size": (14, 14),
    },
    "paligemma": {"projection_dim": 2048},
    "llava_onevision": {
        "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": "anyres_max_9",
    },
    "foveate_compressed": {
        "compressor": {"name": "average-pool", "kernel": 2}, "multi_level_layers": None,
        "query_encoding": "none", "views": "base", "visual_tokens": None,
    },
}  # fmt: skip


def published() -> dict[str, dict[str, Any]]:
    """The published models' fields, by name."""
    return json.loads((files("foveate.cost") / "models.json").read_text())


def read_config(name: str) -> Any:
    """The config of a published model, of foveate-mini, or of a folder.

    Raises:
        InputError: none of these; the message lists the names.
    """
    if name in (table := published()):
        return _namespace(table[name])
    path = Path(name) / "config.json"
    if name == "foveate-mini":
        path = Path(str(files("foveate"))) / "assets" / name / "config.json"
    if not path.is_file():
        raise InputError(
            f"{name!r} is no folder with a config.json; published models whose sizes come with "
            f"foveate: foveate-mini, {', '.join(table)}"
        )
    try:
        fields = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold one JSON object, got {type(fields).__name__}")
    return _namespace(fields)


def _namespace(fields: dict[str, Any]) -> SimpleNamespace:
    filled = {**DEFAULTS.get(str(fields.get("model_type")), {}), **fields}
    return SimpleNamespace(
        **{
            name: _namespace(value) if isinstance(value, dict) else value
            for name, value in filled.items()
        }
    )


def config_of(model: Any) -> Any:
    """The config of a model, of a folder or of a published name; a config is itself."""
    if isinstance(model, str):
        return read_config(model)
    model = getattr(model, "model", model)
    return getattr(model, "config", model)
