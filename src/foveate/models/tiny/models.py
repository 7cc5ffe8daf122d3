"""The tiny random models of the families, a table: fields of a config, and how pictures are laid out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models.tiny import (
    TINY_END,
    TINY_IMAGE,
    TINY_LLM,
    TINY_START,
    TINY_VIDEO,
    TINY_VISION,
    Picture,
    stacked,
)
from foveate.models.tiny.pictures import (
    PINPOINTS,
    Draw,
    anyres,
    frames,
    on_grid,
    one_view,
    rows_with_breaks,
    square,
    stamped_steps,
    tiles,
    tiles_of_sample,
    wrapped,
    wrapped_steps,
)

Collate = Callable[[Sequence[Sequence[Picture]]], dict[str, Tensor]]
Fields = dict[str, Any]


@dataclass(frozen=True)
class TinyModel:
    """How one tiny model is made, and what it is shown.

    Attributes:
        config: fields of its config, the model type among them.
        image: draws an image.
        video: draws a clip; None where the family takes none.
        collate: puts the tensors of a batch's pictures together.
    """

    config: Fields
    image: Draw
    video: Draw | None = None
    collate: Collate = stacked

    def picture(self, modality: str) -> Draw:
        """What draws a picture of a modality.

        Raises:
            UnsupportedError: none is there.
        """
        draw = self.image if modality == "image" else self.video
        if draw is None:
            raise UnsupportedError(f"{self.config['model_type']} takes no {modality}")
        return draw


def _llm(kind: str, **more: Any) -> Fields:
    return {"model_type": kind, **TINY_LLM, **more}


def _vision(kind: str, side: int, **more: Any) -> Fields:
    return {"model_type": kind, **TINY_VISION, "image_size": side, **more}


def _clip(side: int) -> Fields:
    return _vision("clip_vision_model", side, projection_dim=32)


def _siglip(side: int) -> Fields:
    return _vision("siglip_vision_model", side, vision_use_head=False)


def _padded(*dims: int) -> Collate:
    """Pixels of unlike shapes filled up along these dimensions."""
    return partial(stacked, pad={"pixel_values": dims})


def _grid(
    kind: str, layout: Callable[[int, int, int], list[int]] = wrapped_steps, **more: Any
) -> TinyModel:
    """Patches on a grid in time, images and clips."""
    config = {"model_type": kind, **GRID_IDS, **more}
    return TinyModel(config, on_grid("image", layout), on_grid("video", layout))


IMAGE = {"image_token_id": TINY_IMAGE}
IMAGE_INDEX = {"image_token_index": TINY_IMAGE}
BOTH_INDEX = {**IMAGE_INDEX, "video_token_index": TINY_VIDEO}
GRID_IDS: Fields = {
    "image_token_id": TINY_IMAGE, "video_token_id": TINY_VIDEO,
    "vision_start_token_id": TINY_START, "vision_end_token_id": TINY_END,
}  # fmt: skip
GRID_TEXT: Fields = {
    **TINY_LLM,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}
WINDOWED = {
    "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "fullatt_block_indexes": [1],
}  # fmt: skip
DEEP = {
    "depth": 3, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
KINDS = (["sliding_attention"] * 2 + ["full_attention"]) * 2

TINY = {
    "llava": TinyModel(
        {
            "model_type": "llava", "vision_config": _clip(112), "text_config": _llm("llama"),
            **IMAGE_INDEX,
        },
        square(112, 64),
    ),
    "llava_next": TinyModel(
        {
            "model_type": "llava_next", "vision_config": _clip(56), "text_config": _llm("llama"),
            "image_grid_pinpoints": PINPOINTS, **IMAGE_INDEX,
        },
        anyres,
        collate=_padded(1),
    ),
    "llava_next_video": TinyModel(
        {
            "model_type": "llava_next_video", "vision_config": _clip(56),
            "text_config": _llm("llama"), "image_grid_pinpoints": PINPOINTS,
            "spatial_pool_stride": 2, **BOTH_INDEX,
        },
        anyres,
        frames(10, 56, 4),
        _padded(1),
    ),
    "llava_onevision": TinyModel(
        {
            "model_type": "llava_onevision", "vision_config": _siglip(56),
            "text_config": _llm("qwen2"), "image_grid_pinpoints": PINPOINTS,
            "vision_feature_layer": -1, **BOTH_INDEX,
        },
        anyres,
        frames(12, 56, 4, separators=1),
        _padded(1),
    ),
    "internvl": TinyModel(
        {
            "model_type": "internvl", "image_seq_length": 16, "text_config": _llm("qwen2"),
            "vision_config": {
                "model_type": "internvl_vision", **TINY_VISION, "patch_size": [14, 14],
                "image_size": [112, 112],
            }, **IMAGE,
        },
        tiles(112, 16),
    ),
    "idefics3": TinyModel(
        {
            "model_type": "idefics3", "vision_config": _vision("idefics3_vision", 112),
            "text_config": _llm("llama"), "scale_factor": 2, **IMAGE,
        },
        tiles(112, 16),
        collate=tiles_of_sample,
    ),
    "smolvlm": TinyModel(
        {
            "model_type": "smolvlm", "vision_config": _vision("smolvlm_vision", 112),
            "text_config": _llm("llama"), "scale_factor": 2, **IMAGE,
        },
        tiles(112, 16),
        collate=tiles_of_sample,
    ),
    "mistral3": TinyModel(
        {
            "model_type": "mistral3", "vision_config": _vision("pixtral", 224),
            "text_config": _llm("mistral", head_dim=16, sliding_window=None),
            "spatial_merge_size": 2, "vision_feature_layer": -1, **IMAGE_INDEX,
        },
        rows_with_breaks,
        collate=_padded(2, 3),
    ),
    "foveate_compressed": TinyModel(
        {
            "model_type": "foveate_compressed", "vision_config": _siglip(56),
            "text_config": _llm("qwen2"), "image_grid_pinpoints": PINPOINTS,
            "vision_feature_layer": -1, **BOTH_INDEX,
            "compressor": {"name": "mqt", "most": 16, "heads": 2},
        },
        one_view,
        frames(3, 56, 16),
    ),
    "gemma3": TinyModel(
        {  # every third layer sees everything, the others 24 tokens
            "model_type": "gemma3", "vision_config": _siglip(112),
            "text_config": _llm(
                "gemma3_text", head_dim=16, sliding_window=24, layer_types=KINDS
            ),
            "mm_tokens_per_image": 16, **IMAGE_INDEX,
        },
        wrapped(square(112, 16)),
    ),
    "qwen2_vl": _grid(
        "qwen2_vl", text_config=GRID_TEXT,
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
    ),
    "qwen2_5_vl": _grid("qwen2_5_vl", text_config=GRID_TEXT, vision_config=WINDOWED),
    "qwen3_vl": _grid(
        "qwen3_vl", stamped_steps, text_config={**GRID_TEXT, "head_dim": 16}, vision_config=DEEP
    ),
}  # fmt: skip
