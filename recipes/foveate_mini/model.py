"""The shape of foveate-mini: a stock LLaVA-OneVision, made small.

Everything is transformers' own `LlavaOnevisionForConditionalGeneration`: a SigLIP tower, a
two-layer projector, a Qwen2 language model. Only the sizes are ours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from foveate.scenes.sample import PATCH, SIZE

ALIKE_GAIN = 2.0


@dataclass(frozen=True)
class MiniShape:
    """Sizes of the model; the defaults are foveate-mini's.

    Attributes:
        width: features of the language model, and of the tower unless it has its own.
        tower_width: features of the tower.
        head: features of one attention head of the language model.
    """

    width: int = 128
    tower_width: int | None = None
    tower_layers: int = 4
    tower_heads: int = 4
    layers: int = 8
    head: int = 32
    key_value_heads: int = 2


def build(
    shape: MiniShape, tokens: dict[str, int], seed: int
) -> LlavaOnevisionForConditionalGeneration:
    """A freshly initialised model, in float32.

    Args:
        shape: its sizes.
        tokens: `vocabulary` (how many tokens there are) and the ids of `image`, `video`, `start`
            and `end`.
        seed: seed of the random weights.
    """
    seen = shape.tower_width or shape.width
    vision = SiglipVisionConfig(
        hidden_size=seen,
        intermediate_size=4 * seen,
        num_hidden_layers=shape.tower_layers,
        num_attention_heads=shape.tower_heads,
        image_size=SIZE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=tokens["vocabulary"],
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // shape.head,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        # The default, 0.02, suits a width of 2048: at this one attention starts flat and stays so.
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=tokens["start"],
        eos_token_id=tokens["end"],
        pad_token_id=tokens["end"],
    )
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(joined(vision, text, tokens)).float()
    _attend_to_alike(model.model.language_model)
    return model


def joined(
    vision: SiglipVisionConfig, text: PreTrainedConfig, tokens: dict[str, int]
) -> LlavaOnevisionConfig:
    """The configuration of a tower for pictures of one tile joined to a language model.

    Args:
        vision: of the tower.
        text: of the language model, whose embeddings are tied.
        tokens: ids of `image` and `video`.
    """
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokens["image"],
        video_token_index=tokens["video"],
        projector_hidden_act="gelu",
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_9",
        image_grid_pinpoints=[[SIZE, SIZE]],
        tie_word_embeddings=True,
    )


@torch.no_grad()
def _attend_to_alike(language: Any) -> None:
    """Start each head so that a token attends to tokens like it, and copies a part of them.

    Mimetic initialization (Trockman and Kolter, arXiv 2305.09828): queries start as keys, and the
    output as the transpose of values. Looking up "the 7" among patches is nearly there then; from
    independent random weights it takes longer to appear than all else takes to learn.
    """
    config = language.config
    groups = config.num_attention_heads // config.num_key_value_heads
    for layer in language.layers:
        attention = layer.self_attn
        heads = (config.num_key_value_heads, 1, -1, config.hidden_size)
        key, value = (
            part.weight.view(heads).expand(-1, groups, -1, -1).flatten(0, 2)
            for part in (attention.k_proj, attention.v_proj)
        )
        attention.q_proj.weight.copy_(ALIKE_GAIN * key)
        attention.o_proj.weight.copy_(value.T)
