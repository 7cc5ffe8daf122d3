"""Vision towers: one table of what is known of each, whatever family it stands in."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import nn

from foveate.errors import UnsupportedError

ATTENTION = ("self_attn", "attention", "attn")  # names that a layer may give its attention module
PLACES = ("vision_tower", "visual", "vision_model", "vision_encoder")  # of the core, in this order


@dataclass(frozen=True)
class Tower:
    """What is known of one tower.

    Attributes:
        layers: where its stack of layers is, from the tower on.
        class_token: whether its first row is [CLS].
        packs_sizes: whether pictures of any size (`image_sizes`) are one sequence, row by row.
        raster: whether pictures on a grid (`image_grid_thw`) are so, too; else token by token.
        pools_time: whether all time steps of a grid are one sequence, and are averaged.
        by_frame: whether pixels and rows of a frame are as `foveate.models.clips` has them.
    """

    layers: str
    class_token: bool = False
    packs_sizes: bool = False
    raster: bool = False
    pools_time: bool = False
    by_frame: bool = True


TOWERS = {  # by the model type of `config.vision_config`
    "clip_vision_model": Tower("encoder.layers", class_token=True),
    "siglip_vision_model": Tower("encoder.layers"),
    "internvl_vision": Tower("encoder.layer", class_token=True),
    "idefics3_vision": Tower("encoder.layers"),
    "smolvlm_vision": Tower("encoder.layers"),
    "pixtral": Tower("transformer.layers", packs_sizes=True, by_frame=False),
    "glm4v_vision": Tower("blocks"),
    "glm4v_moe_vision": Tower("blocks"),
    "glm_ocr_vision": Tower("blocks"),
    "qwen2_vl_vision": Tower("blocks"),
    "qwen2_5_vl_vision": Tower("blocks"),
    "qwen3_vl_vision": Tower("blocks"),
    "qwen3_vl_moe_vision": Tower("blocks"),
    "qwen3_5_vision": Tower("blocks"),
    "qwen3_5_moe_vision": Tower("blocks"),
    "qwen2_5_omni_vision_encoder": Tower("blocks"),
    "qwen3_omni_moe_vision_encoder": Tower("blocks"),
    "siglip2_vision_model": Tower("encoder.layers", by_frame=False),
    "ernie4_5_vl_moe_vision": Tower("blocks"),
    "exaone4_5_vision": Tower("blocks"),
    "kimi_k25_vision": Tower("layers", raster=True, pools_time=True, by_frame=False),
    "janus_vision_model": Tower("encoder.layers"),
    "ovis2_vision": Tower("transformer.encoder.layers"),
    "paddleocr_vl_vision": Tower("encoder.layers", raster=True, by_frame=False),
    "qianfan_ocr_vision": Tower("layers", class_token=True),
}


OF_EACH = ("video_llava",)  # families that have a tower for each modality, at places of their own


def tower_type(core: Any) -> str:
    """The model type of a core's vision config, "" where it says none.

    Older transformers leave it out of some: there it is the model's with an ending, if that is known.
    """
    said = getattr(getattr(core.config, "vision_config", None), "model_type", None)
    usual = f"{core.config.model_type}_vision"
    return said or (usual if usual in TOWERS else "")


def known_tower(core: Any) -> Tower | None:
    """The table's row of a core's tower, None if it has none."""
    return TOWERS.get(tower_type(core))


def tower_of(core: Any) -> Any:
    """The vision tower.

    Raises:
        UnsupportedError: none where towers are.
    """
    for place in PLACES:
        if hasattr(core, place):
            tower = getattr(core, place)
            return getattr(tower, "vision_model", tower)  # CLIP and SigLIP before transformers 5.20
    raise UnsupportedError(f"{type(core).__name__} has no vision tower at {', '.join(PLACES)}")


def why_unknown(kind: str, family: str) -> str:
    """Why a tower of that type can be neither watched nor shortened in a family; "" where it can."""
    if family in OF_EACH:
        return f"which vision layer to use: none in {family}, which has several vision towers"
    if kind in TOWERS:
        return ""
    return (
        f"which vision layers there are is not known of a {kind or 'nameless'} tower; known: "
        f"{', '.join(TOWERS)}"
    )


def why_not_by_frame(kind: str) -> str:
    """Why patches that did not change cannot be found in a tower of that type; "" where they can."""
    if kind not in TOWERS or TOWERS[kind].by_frame:
        return ""
    works = ", ".join(name for name, tower in TOWERS.items() if tower.by_frame)
    return (
        f"a {kind} tower does not compute frame by frame, each alone, so that patches that did not "
        f"change cannot be reused; works: {works}"
    )


def tower_layers(core: Any) -> nn.ModuleList:
    """The layers of a tower that the table knows, in their order."""
    return attrgetter(TOWERS[tower_type(core)].layers)(tower_of(core))


def chosen_state(core: Any) -> int | Sequence[int]:
    """Which hidden state of the tower the features are made of; of several, all."""
    return getattr(core.config, "vision_feature_layer", -1)


def attention_of(layer: Any) -> Any:
    """The attention module of a tower's layer."""
    return next(getattr(layer, name) for name in ATTENTION if hasattr(layer, name))


def layer_of_state(layers: nn.ModuleList, chosen: int | Sequence[int]) -> Any:
    """The layer whose output is the chosen hidden state; of several, the last.

    Raises:
        UnsupportedError: the state is the embeddings', which no layer made.
    """
    state = chosen if isinstance(chosen, int) else chosen[-1]
    index = state - 1 if state >= 0 else len(layers) + state
    if not 0 <= index < len(layers):
        raise UnsupportedError(
            f"no vision layer makes hidden state {state}, so it has no attention"
        )
    return layers[index]


def layer_behind_state(layers: nn.ModuleList, chosen: int | Sequence[int]) -> Any:
    """The layer whose input is the chosen hidden state.

    Raises:
        UnsupportedError: none reads it, or there are several.
    """
    index = chosen if isinstance(chosen, int) else len(layers)
    index = index if index >= 0 else index + len(layers) + 1
    if index >= len(layers):
        raise UnsupportedError(f"no vision layer reads hidden state {chosen!r}, so it has no keys")
    return layers[index]
