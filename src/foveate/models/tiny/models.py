"""The tiny random models of the families, a table: fields of a config, and how pictures are laid out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models.tiny import (
    TINY_AUDIO,
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
    averaged_steps,
    frames,
    on_grid,
    one_view,
    patches_in_a_row,
    patches_of_shape,
    rows_with_breaks,
    slices,
    square,
    stamped_steps,
    tiles,
    tiles_of_sample,
    timed,
    views,
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


def _row(
    kind: str,
    vision: Fields,
    text: Fields,
    image: Draw,
    video: Draw | None = None,
    collate: Collate = stacked,
    **more: Any,
) -> TinyModel:
    """A tower, an LLM, pictures, and other fields of the config."""
    config = {"model_type": kind, "vision_config": vision, "text_config": text, **more}
    return TinyModel(config, image, video, collate)


def _grid(
    kind: str,
    vision: Fields,
    text: Fields,
    layout: Callable[[int, int, int], list[int]] = wrapped_steps,
    fields: Fields | None = None,
    **more: Any,
) -> TinyModel:
    """Patches on a grid in time, images and clips; other fields of the config; `more` as of `on_grid`."""
    image, video = (on_grid(modality, layout, **more) for modality in ("image", "video"))
    return _row(kind, vision, text, image, video, **{**GRID_IDS, **(fields or {})})


def _omni(kind: str, vision: Fields, text: Fields, audio: Fields) -> TinyModel:
    """Patches on a grid in time, sound, and clips that say how long a time step is."""
    image, video = (on_grid(modality, wrapped_steps) for modality in ("image", "video"))
    ids = {**GRID_IDS, **AUDIO}
    return _row(kind, vision, text, image, timed(video), audio_config=audio, **ids)


IMAGE: Fields = {"image_token_id": TINY_IMAGE}
IMAGE_INDEX: Fields = {"image_token_index": TINY_IMAGE}
BOTH_INDEX: Fields = {**IMAGE_INDEX, "video_token_index": TINY_VIDEO}
GRID_IDS: Fields = {
    "image_token_id": TINY_IMAGE, "video_token_id": TINY_VIDEO,
    "vision_start_token_id": TINY_START, "vision_end_token_id": TINY_END,
}  # fmt: skip
GRID_TEXT: Fields = {
    **TINY_LLM,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}
WINDOWED: Fields = {
    "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "fullatt_block_indexes": [1],
}  # fmt: skip
DEEP: Fields = {
    "depth": 3, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
PLAIN_GRID: Fields = {
    "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "num_position_embeddings": 64,
}  # fmt: skip
GLM_TOWER: Fields = {
    "depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
    "image_size": 112,
}  # fmt: skip
GLM_HALF_TURNED: Fields = {  # half of each head is turned by its place
    **GRID_TEXT, "head_dim": 16, "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2],
        "partial_rotary_factor": 0.5,
    },
}  # fmt: skip
ROUTED: Fields = {  # experts behind a dense layer, beside shared ones
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
SPARSE: Fields = {**ROUTED, "mlp_layer_types": ["dense"] + ["sparse"] * 5}
QUERIED: Fields = {  # learned queries read what a SAM tower sees
    "sam_config": {
        "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 64, "window_size": 3, "global_attn_indexes": [1], "mlp_ratio": 2.0,
        "downsample_channels": [16, 32], "initializer_range": 0.02,
    },
    "encoder_config": {**TINY_LLM, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
}  # fmt: skip
LATENT: Fields = {
    **_llm("deepseek_v3"), "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 24, "n_group": 1, "topk_group": 1,
}  # fmt: skip
AUDIO: Fields = {
    "audio_token_id": TINY_AUDIO,
    "audio_start_token_id": 125,
    "audio_end_token_id": 126,
}
EARS: Fields = {
    "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48,
    "num_mel_bins": 16, "n_window": 8, "output_dim": 64,
}  # fmt: skip
HYBRID: Fields = {  # every other layer is linear attention
    "head_dim": 16, "layer_types": ["full_attention", "linear_attention"] * 3,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
VQ: Fields = {
    "base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1, "latent_channels": 32,
    "num_embeddings": 16, "num_patches": 8, "projection_dim": 64, "image_token_embed_dim": 64,
}  # fmt: skip
KINDS = (["sliding_attention"] * 2 + ["full_attention"]) * 2

CUT: Fields = {"image_grid_pinpoints": PINPOINTS}
EXPERTS: Fields = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
COHERE = _llm("cohere2", head_dim=16, sliding_window=24)
QWEN3 = _llm("qwen3", head_dim=16)
GEMMA = _llm("gemma3_text", head_dim=16, sliding_window=24, layer_types=KINDS)
PLAIN: Fields = {**TINY_VISION, "image_size": 112}  # a tower that only one family has
TILE: Fields = {**TINY_VISION, "patch_size": [14, 14], "image_size": [112, 112]}

# every picture of one size, without more ado
SQUARE = (
    _row("llava", _clip(112), _llm("llama"), square(112, 64), **IMAGE_INDEX),
    _row("vipllava", _clip(112), _llm("llama"), square(112, 64), **IMAGE_INDEX,
         vision_feature_layer=[-2, -1], vision_feature_layers=[-2, -1]),
    _row("aya_vision", _siglip(112), COHERE, square(112, 16), **IMAGE_INDEX),
    _row("cohere2_vision", _siglip(112), COHERE, square(112, 16), **IMAGE,
         alignment_intermediate_size=64),
    _row("deepseek_vl", _siglip(112), _llm("llama"), square(112, 64), **IMAGE),
    _row("gemma3", _siglip(112), GEMMA, wrapped(square(112, 16)), **IMAGE_INDEX,
         mm_tokens_per_image=16),
    _row("paligemma", {**_siglip(112), "projection_dim": 64}, _llm("gemma", head_dim=16),
         square(112, 64), **IMAGE_INDEX, projection_dim=64),
    _row("ovis2", {**PLAIN, "vocab_size": 20}, _llm("qwen2"), square(112, 64), **IMAGE,
         visual_indicator_token_ids=[115, 116, 117, 118, 119], hidden_size=64, vocab_size=128),
    _row("aria", _vision("idefics3_vision", 112), _llm("aria_text", moe_num_experts=4),
         square(112, 16), **IMAGE_INDEX, projector_patch_to_query_dict={64: 16}),
    _row("got_ocr2",
         {**TINY_VISION, "image_size": 256, "patch_size": 16, "output_channels": 16,
          "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 48, "initializer_range": 0.02},
         _llm("qwen2"), square(256, 16), **IMAGE, image_seq_length=16),
    _row("janus",
         {**PLAIN, "mlp_ratio": 2.0, "projection_dim": 64, "depth": 2, "num_image_tokens": 64},
         _llm("llama"), square(112, 64), **IMAGE, vq_config=VQ),
    _row("video_llava", _clip(56), _llm("llama"), square(56, 16), frames(4, 56, 17), **BOTH_INDEX),
)  # fmt: skip
TILES = (
    _row("internvl", {"model_type": "internvl_vision", **TILE}, _llm("qwen2"), tiles(112, 16),
         **IMAGE, image_seq_length=16),
    _row("qianfan_ocr", TILE, QWEN3, tiles(112, 16), **IMAGE, image_seq_length=16),
    _row("idefics3", _vision("idefics3_vision", 112), _llm("llama"), tiles(112, 16),
         collate=tiles_of_sample, **IMAGE, scale_factor=2),
    _row("idefics2", _vision("idefics2_vision", 112), _llm("mistral", head_dim=16, sliding_window=None),
         tiles(112, 16), collate=tiles_of_sample, **IMAGE, perceiver_config={"hidden_size": 64,
         "resampler_n_latents": 16, "resampler_depth": 2, "resampler_n_heads": 4,
         "resampler_head_dim": 16, "num_key_value_heads": 2}),
    _row("smolvlm", _vision("smolvlm_vision", 112), _llm("llama"), tiles(112, 16),
         collate=tiles_of_sample, **IMAGE, scale_factor=2),
    _row("deepseek_ocr2", QUERIED, _llm("deepseek_ocr2_text", **SPARSE),
         views(64, 144, (64, 144), separator=True), **IMAGE),
    _row("step3p7", {**TINY_VISION, "image_size": 224, "mlp_ratio": 1.5},
         _llm("step3p5", **SPARSE, head_dim=16, sliding_window=24, layer_types=KINDS,
              num_sliding_attention_heads=8, share_expert_dim=48),
         views(224, 16, (112, 4)), **IMAGE),
    _row("llava_next", _clip(56), _llm("llama"), anyres, collate=_padded(1), **CUT, **IMAGE_INDEX),
    _row("llava_next_video", _clip(56), _llm("llama"), anyres, frames(10, 56, 4), _padded(1),
         **CUT, **BOTH_INDEX, spatial_pool_stride=2),
    _row("llava_onevision", _siglip(56), _llm("qwen2"), anyres,
         frames(12, 56, 4, separators=1), _padded(1), **CUT, **BOTH_INDEX, vision_feature_layer=-1),
    _row("foveate_compressed", _siglip(56), _llm("qwen2"), one_view, frames(3, 56, 16),
         **CUT, **BOTH_INDEX, vision_feature_layer=-1,
         compressor={"name": "mqt", "most": 16, "heads": 2}),
)  # fmt: skip
ANY_SIZE = (
    _row("mistral3", _vision("pixtral", 224),
         _llm("mistral", head_dim=16, sliding_window=None), rows_with_breaks,
         collate=_padded(2, 3), **IMAGE_INDEX, spatial_merge_size=2, vision_feature_layer=-1),
    _row("lighton_ocr", _vision("pixtral", 224), QWEN3, rows_with_breaks,
         collate=_padded(2, 3), **IMAGE),
    _grid("qwen2_vl",
          {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2}, GRID_TEXT),
    _grid("qwen2_5_vl", WINDOWED, GRID_TEXT),
    _grid("qwen3_vl", DEEP, {**GRID_TEXT, "head_dim": 16}, stamped_steps),
    _grid("qwen3_vl_moe", DEEP, {**GRID_TEXT, **EXPERTS, "head_dim": 16}, stamped_steps),
    _grid("qwen3_5", PLAIN_GRID, {**GRID_TEXT, **HYBRID}, stamped_steps),
    _grid("qwen3_5_moe", PLAIN_GRID,
          {**GRID_TEXT, **HYBRID, **EXPERTS, "shared_expert_intermediate_size": 32}, stamped_steps),
    _grid("glm4v", GLM_TOWER, GRID_TEXT, stamped_steps),
    _grid("glm46v", {"model_type": "glm4v_vision", **GLM_TOWER},
          {"model_type": "glm4v_text", **GRID_TEXT}, stamped_steps),
    _grid("glm4v_moe", GLM_TOWER, {**GLM_HALF_TURNED, **ROUTED}, stamped_steps),
    _grid("glm_ocr", GLM_TOWER, {**GRID_TEXT, "head_dim": 16}, stamped_steps),
    _grid("kimi_k25", {**TINY_VISION, "pos_emb_time": 8}, {**LATENT, **ROUTED}, averaged_steps,
          {"projection_hidden_size": 32}, flat=False),
    _row("minicpmv4_6", {**TINY_VISION, "image_size": 112, "num_hidden_layers": 3},
         {"model_type": "qwen3_5_text", **GRID_TEXT, **HYBRID}, slices("image"), slices("video"),
         patches_in_a_row, **GRID_IDS, insert_layer_id=0),
    _row("lfm2_vl",
         {"model_type": "siglip2_vision_model", **TINY_VISION, "num_patches": 64, "patch_size": 16,
          "vision_use_head": False},
         _llm("lfm2", layer_types=["full_attention", "conv"] * 3, block_auto_adjust_ff_dim=False),
         wrapped(patches_of_shape), collate=partial(stacked, pad={"pixel_values": (1,),
         "pixel_attention_mask": (1,)}), **IMAGE, projector_hidden_size=48),
    _grid("ernie4_5_vl_moe",
          {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2},
          {**TINY_LLM, "rope_parameters": {**GRID_TEXT["rope_parameters"], "mrope_section": [3, 3, 2]},
           "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": [48, 32],
           "moe_num_shared_experts": 1}, merged=2),
    _grid("paddleocr_vl", PLAIN, {**GRID_TEXT, "head_dim": 16}, flat=False),
    _grid("exaone4_5", {**WINDOWED, "num_key_value_heads": 1},
          _llm("exaone4", head_dim=16, sliding_window=24, layer_types=KINDS)),
)  # fmt: skip
OMNI = (
    _omni("qwen2_5_omni_thinker", {"model_type": "qwen2_5_omni_vision_encoder", **WINDOWED},
          GRID_TEXT, EARS),
    _omni("qwen3_omni_moe_thinker", {"model_type": "qwen3_omni_moe_vision_encoder", **DEEP},
          {**GRID_TEXT, **EXPERTS, "head_dim": 16},
          {**EARS, "n_window": 50, "downsample_hidden_size": 24}),
)  # fmt: skip
TINY = {row.config["model_type"]: row for row in (*SQUARE, *TILES, *ANY_SIZE, *OMNI)}
