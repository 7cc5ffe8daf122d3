import pytest
from transformers import Qwen2Config

from foveate.cost.llm import kv_elements_per_row, prefill_cost
from foveate.errors import InputError

CONFIG = Qwen2Config(
    hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=100,
)  # fmt: skip


def test_by_hand():
    cost = prefill_cost(CONFIG, [3, 1], 2)
    projections = 64 * 64 * 2 + 64 * 32 * 2
    by_hand = 2 * 64 * 100
    for rows in (5, 3):
        by_hand += 2 * rows * (projections + 3 * 64 * 96) + 4 * rows**2 * 64
    assert cost.flops == by_hand
    assert cost.kv_elements == (5 + 3) * 64 == (5 + 3) * kv_elements_per_row(CONFIG)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match=r"one entry a layer \(2\), got 3"):
        prefill_cost(CONFIG, [1, 1, 1], 2)
