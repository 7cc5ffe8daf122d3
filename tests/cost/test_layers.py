"""LLMs whose layers are unlike each other, told by their config alone, against torch and their caches."""

from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma4TextConfig,
    Lfm2Config,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
)

from counted import counted
from foveate.cost.configs import read_config
from foveate.cost.layers import kv_sources, layer_kinds
from foveate.cost.llm import decode_cost, kv_elements_per_row, prefill_cost
from foveate.cost.shapes import read_llm
from foveate.cost.vision.gemma4 import _cells
from foveate.errors import UnsupportedError
from foveate.runtime.seams import cache_in, on_cache

SIZES = {
    "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "head_dim": 32,
    "num_key_value_heads": 2, "vocab_size": 500, "pad_token_id": 0,
}  # fmt: skip
LINEAR = {
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
EXPERTS = {"num_experts": 8, "moe_intermediate_size": 64}
GEMMA = {
    **SIZES, "intermediate_size": 256, "global_head_dim": 64, "sliding_window": 16,
    "hidden_size_per_layer_input": 0, "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2,
}  # fmt: skip
ROUTED = {
    "n_routed_experts": 8, "moe_intermediate_size": 64, "num_experts_per_tok": 2,
    "n_shared_experts": 1, "first_k_dense_replace": 2, "n_group": 1, "topk_group": 1,
}  # fmt: skip
LATENT = {
    **{name: size for name, size in SIZES.items() if name not in ("head_dim", "num_key_value_heads")},
    "intermediate_size": 256, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 24,
}  # fmt: skip
CONFIGS = {
    "qwen3_5": lambda: Qwen3_5TextConfig(**SIZES, **LINEAR, intermediate_size=256),
    "qwen3_5_moe": lambda: Qwen3_5MoeTextConfig(
        **SIZES, **LINEAR, **EXPERTS, num_experts_per_tok=2, shared_expert_intermediate_size=64
    ),
    "deepseek_v3": lambda: DeepseekV3Config(
        **LATENT, **ROUTED, q_lora_rank=24, num_key_value_heads=4
    ),
    "deepseek_v3 without narrow queries": lambda: DeepseekV3Config(
        **LATENT, **ROUTED, q_lora_rank=None, num_key_value_heads=4
    ),
    "lfm2": lambda: Lfm2Config(
        **SIZES, intermediate_size=480, layer_types=["conv", "conv", "full_attention"] * 2
    ),
    "gemma4": lambda: Gemma4TextConfig(
        **GEMMA, num_global_key_value_heads=1, attention_k_eq_v=True
    ),
    "gemma4 with experts": lambda: Gemma4TextConfig(
        **GEMMA, **EXPERTS, enable_moe_block=True, top_k_experts=2
    ),
    "gemma4 with shared keys": lambda: Gemma4TextConfig(
        **{**GEMMA, "hidden_size_per_layer_input": 16}, vocab_size_per_layer_input=500,
        num_kv_shared_layers=2, use_double_wide_mlp=True,
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]()


def bytes_of(cache):
    parts = []
    for layer in cache.layers:
        parts += [getattr(layer, "keys", None), getattr(layer, "values", None)]
        for name in ("conv_states", "recurrent_states"):
            parts += getattr(layer, name, {}).values()
    return sum(part.nbytes for part in parts if part is not None)


def test_a_prefill_and_steps_cost_what_torch_counts(config):
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    last = torch.tensor([199])
    real = counted(lambda: model(torch.ones(1, 200, dtype=torch.long), logits_to_keep=last))
    cost = prefill_cost(config, [150] * 6, 50)
    assert cost.flops == pytest.approx(real, rel=0.01)
    with torch.no_grad():
        cache = cache_in(model(torch.ones(1, 200, dtype=torch.long)))
    assert cost.cache_bytes(4) == bytes_of(cache)

    def step():
        model(torch.zeros(1, 1, dtype=torch.long), **on_cache(model, cache), logits_to_keep=1)

    real = counted(lambda: [step() for _ in range(5)])
    steps = decode_cost(config, [200] * 6, 5)
    assert steps.flops == pytest.approx(real, rel=0.01)
    assert steps.cache_bytes(4) == bytes_of(cache)


def test_plain_fields_give_the_same(config, tmp_path):
    config.save_pretrained(tmp_path)
    assert read_llm(read_config(str(tmp_path))) == read_llm(config)


def test_published_fields_of_gemma4_are_read(tmp_path):
    """They name the heads of full attention apart; transformers writes them layer by layer."""
    config = CONFIGS["gemma4"]()
    plain = SimpleNamespace(**{**GEMMA, "model_type": "gemma4_text"}, attention_k_eq_v=True,
                            num_global_key_value_heads=1)  # fmt: skip
    assert read_llm(plain).each == read_llm(config).each


def test_layers_are_told_where_a_config_leaves_them_out():
    for config in (Qwen3_5TextConfig(num_hidden_layers=9), Gemma4TextConfig(num_hidden_layers=9)):
        fields = {name: getattr(config, name) for name in ("model_type", "num_hidden_layers")}
        assert layer_kinds(SimpleNamespace(**fields)) == tuple(config.layer_types)


def test_the_last_layers_share_the_keys_of_the_last_of_their_kind():
    kinds = ("a", "b", "a", "b", "a", "b")
    assert kv_sources(SimpleNamespace(num_kv_shared_layers=2), kinds) == (0, 1, 2, 3, 2, 3)
    assert kv_sources(SimpleNamespace(), kinds) == (0, 1, 2, 3, 4, 5)
    with pytest.raises(UnsupportedError, match="from 1 on share the keys of no layer"):
        kv_sources(SimpleNamespace(num_kv_shared_layers=5), kinds)


USUAL = {**SIZES, "intermediate_size": 256, "model_type": "odd"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_types": ["full_attention"] * 5 + ["mamba"]}, "layers of kind mamba .* is not known"),
        ({"kv_lora_rank": 8}, "with kv_lora_rank costs is not known"),
        ({"n_routed_experts": 8}, "with n_routed_experts costs is not known"),
        ({"moe_intermediate_size": [8, 8]}, "with moe_intermediate_size costs is not known"),
        ({"num_kv_shared_layers": 2}, "known of gemma4 alone, got 'odd'"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(fields, message):
    with pytest.raises(UnsupportedError, match=message):
        read_llm(SimpleNamespace(**USUAL, **fields))


def test_what_asks_for_like_layers_refuses_others(config):
    with pytest.raises(UnsupportedError, match="unlike each other"):
        prefill_cost(config, [1] * 6, 1, convention="llm-viewer")
    with pytest.raises(UnsupportedError, match="unlike each other"):
        kv_elements_per_row(config)


def test_tokens_are_rated_where_a_layer_attends():
    llm = read_llm(CONFIGS["qwen3_5"]())  # the fourth alone attends
    assert [llm.rating_layer(layer) for layer in range(6)] == [None] * 3 + [3] * 3


@pytest.mark.parametrize("size", [(480, 640), (1000, 333), (64, 64), (20, 3000), (4000, 20)])
@pytest.mark.parametrize("most", [280, 70])
def test_pictures_of_gemma4_have_the_shape_that_its_processor_gives(size, most):
    from transformers.models.gemma4.image_processing_gemma4 import get_aspect_ratio_preserving_size

    sides = get_aspect_ratio_preserving_size(*size, 16, most * 9, 3)
    assert _cells(size, most) == tuple(length // 48 for length in sides)
