"""The whole model: a tower and a projector of ours before a pretrained language model, and its LoRA."""

from typing import Any

import torch
from torch import nn
from transformers import LlavaOnevisionForConditionalGeneration, SiglipVisionConfig

from recipes.foveate_mini.model import joined
from recipes.foveate_mini.tokens import token_ids
from recipes.foveate_smol.base import Base, text_config

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 8
# As LoRA's alpha / r.
SCALE = 2.0


def join(
    base: Base, vision: SiglipVisionConfig, seed: int = 0
) -> LlavaOnevisionForConditionalGeneration:
    """A stock LLaVA-OneVision around the language model, in float32; tower and projector are random."""
    config = joined(vision, text_config(base.llm), token_ids(base.tokenizer))
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(config).float()
    model.model.language_model.load_state_dict(base.llm.model.state_dict())
    _start(model.model.multi_modal_projector, model.model.language_model.embed_tokens)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _start(projector: Any, embeddings: nn.Embedding) -> None:
    """Let projected patches be about as large as embeddings: much larger or smaller ones are lost."""
    for linear in (projector.linear_1, projector.linear_2):
        nn.init.xavier_normal_(linear.weight)
        linear.bias.zero_()
    projector.linear_2.weight *= embeddings.weight.square().mean().sqrt()


def projector_of(model: LlavaOnevisionForConditionalGeneration) -> dict[str, nn.Parameter]:
    """What turns features into visual tokens: the projector and the newline, by their full names."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if "multi_modal_projector" in name or "image_newline" in name
    }


def tower_of(model: LlavaOnevisionForConditionalGeneration) -> dict[str, nn.Parameter]:
    """The tower's weights that are used, by their full names: the final norm is not."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if "vision_tower" in name and "post_layernorm" not in name
    }


def add_lora(
    model: LlavaOnevisionForConditionalGeneration, rank: int = RANK, seed: int = 0
) -> dict[str, nn.Parameter]:
    """Give every linear layer of the language model a LoRA, which does nothing yet.

    Returns:
        its weights in float32, by their full names.
    """
    import peft

    torch.manual_seed(seed)
    settings = peft.LoraConfig(r=rank, lora_alpha=int(SCALE * rank), target_modules=list(LINEAR))
    peft.inject_adapter_in_model(settings, model.model.language_model)
    lora = {name: part for name, part in model.named_parameters() if ".lora_" in name}
    for parameter in lora.values():
        parameter.data = parameter.data.float()
    return lora
