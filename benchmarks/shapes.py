"""Models of real shapes with random weights, and prompts of noise for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    LlavaOnevisionConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media

TEXT_TOKENS = 100
IMAGE, VIDEO = 10, 11  # placeholders
SIZES = {  # Qwen2 language models of the LLaVA-OneVision checkpoints
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 152000,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "smoke": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 128,
        "tie_word_embeddings": True,
    },
}
SIGLIP = {  # so400m, as in the LLaVA-OneVision checkpoints: without its last layer
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26,
    "num_attention_heads": 16, "image_size": 384, "patch_size": 14,
}  # fmt: skip
THIN = {  # as many tokens of a frame for next to no time
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 1, "image_size": 384, "patch_size": 14,
}  # fmt: skip
QWEN_TOWER = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
QWEN_SMOKE = QWEN_TOWER | {
    "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
    "fullatt_block_indexes": [1],
}  # fmt: skip


def cut(sizes: dict[str, Any], name: str, layers: int | None) -> dict[str, Any]:
    """The same sizes with fewer layers; None for all."""
    return sizes | {name: min(layers or sizes[name], sizes[name])}


def onevision(
    size: str, tower: dict[str, Any] = SIGLIP, layers: int | None = None
) -> LlavaOnevisionConfig:
    """LLaVA-OneVision, its tower and its LLM cut to so many layers."""
    sizes = cut(SIZES[size], "num_hidden_layers", layers)
    vision = cut(tower, "num_hidden_layers", layers)
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision, vision_use_head=False),
        text_config=Qwen2Config(**sizes, max_position_embeddings=32768, rope_theta=1e6),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        vision_feature_layer=-1,
        tie_word_embeddings=sizes["tie_word_embeddings"],
    )


def qwen(
    size: str, tower: dict[str, Any] = QWEN_TOWER, layers: int | None = None
) -> Qwen2_5_VLConfig:
    """Qwen2.5-VL, its tower and its LLM cut to so many layers."""
    sizes = cut(SIZES[size], "num_hidden_layers", layers)
    head = sizes["hidden_size"] // sizes["num_attention_heads"]
    sections = [head // 8, 3 * head // 16, 3 * head // 16]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    vision = cut(tower, "depth", layers)
    full = [n for n in vision["fullatt_block_indexes"] if n < vision["depth"]]
    full = full or [vision["depth"] - 1]
    return Qwen2_5_VLConfig(
        vision_config=vision
        | {"fullatt_block_indexes": full, "out_hidden_size": sizes["hidden_size"]},
        text_config=sizes | {"max_position_embeddings": 32768, "rope_parameters": rope},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=8,
        vision_end_token_id=9,
        tie_word_embeddings=sizes["tie_word_embeddings"],
    )


@dataclass(frozen=True)
class Shape:
    """A model's shape.

    Attributes:
        config: makes its config, cut to so many layers; None for all.
        image: side of a picture.
        frame: side of a frame of a clip.
    """

    config: Callable[[int | None], Any]
    image: int
    frame: int

    def media(self, frames: int) -> Media:
        """One picture (0 frames), or a clip."""
        side = self.frame if frames else self.image
        return Media(frames=frames, height=side, width=side)


SHAPES = {
    "onevision-0.5b": Shape(lambda layers: onevision("0.5b", layers=layers), 768, 384),
    "onevision-7b": Shape(lambda layers: onevision("7b", layers=layers), 768, 384),
    "qwen2.5-vl-7b": Shape(lambda layers: qwen("7b", layers=layers), 980, 448),
    "onevision-smoke": Shape(lambda layers: onevision("smoke", THIN, layers), 384, 384),
    "qwen2.5-vl-smoke": Shape(lambda layers: qwen("smoke", QWEN_SMOKE, layers), 112, 112),
}
SMOKE = tuple(name for name in SHAPES if name.endswith("smoke"))
REAL = tuple(name for name in SHAPES if name not in SMOKE)


def build(config: Any, device: str, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    """A random model, made on its device in its dtype."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    model.generation_config.pad_token_id = 0
    return model.eval()


def prompt(model: Any, media: Media) -> dict[str, Tensor]:
    """A picture or clip of noise between text tokens, on the model's device."""
    config, kind = model.config, "video" if media.frames else "image"
    count = Request.of(config, media, TEXT_TOKENS).visual_tokens
    half = [1] * (TEXT_TOKENS // 2)
    ids = torch.tensor([half + [VIDEO if media.frames else IMAGE] * count + half])
    draw = _of_onevision if config.model_type == "llava_onevision" else _of_qwen
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **draw(config, media)}
    if config.model_type != "llava_onevision":
        inputs["mm_token_type_ids"] = (ids == IMAGE).long() + 2 * (ids == VIDEO).long()
    pixels = "pixel_values" if kind == "image" else "pixel_values_videos"
    inputs[pixels] = inputs[pixels].to(model.dtype)
    return {name: value.to(model.device) for name, value in inputs.items()}


def noise(*shape: int) -> Tensor:
    """Seeded noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _of_onevision(config: Any, media: Media) -> dict[str, Tensor]:
    side, height = config.vision_config.image_size, media.height or 0
    if media.frames:
        return {"pixel_values_videos": noise(1, media.frames, 3, side, side)}
    tiles = 1 + (height // side) ** 2  # the whole, and its parts
    return {
        "pixel_values": noise(1, tiles, 3, side, side),
        "image_sizes": torch.tensor([[height, height]]),
    }


def _of_qwen(config: Any, media: Media) -> dict[str, Tensor]:
    vision, height = config.vision_config, media.height or 0
    side, time = height // vision.patch_size, vision.temporal_patch_size
    steps = media.frames // time if media.frames else 1
    pixels = noise(steps * side * side, 3 * time * vision.patch_size**2)
    grid = torch.tensor([[steps, side, side]])
    if media.frames:
        return {"pixel_values_videos": pixels, "video_grid_thw": grid}
    return {"pixel_values": pixels, "image_grid_thw": grid}
