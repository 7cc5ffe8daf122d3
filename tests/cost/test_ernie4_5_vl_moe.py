"""ERNIE 4.5 VL: clips, and layers whose visual tokens have experts of their own, as torch counts them."""

import pytest
import torch
from transformers import Ernie4_5_VLMoeImageProcessor

from counted import counted
from foveate.cost.configs import read_config
from foveate.cost.llm import prefill_cost
from foveate.cost.shapes import read_llm
from foveate.cost.vision import ernie4_5_vl_moe
from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families

NAME = ["ernie4_5_vl_moe"]


@pytest.mark.every_family
@pytest.mark.parametrize("name", NAME)
def test_a_clip_costs_what_torch_counts(monkeypatch, name):
    monkeypatch.setattr(ernie4_5_vl_moe, "FRAME_PIXELS", (1, 10**6))  # the tiny clip is smaller
    family = families()[name]
    model = family.tiny()
    model.set_attn_implementation("eager")
    inputs = family.tiny_inputs(model.config, [[("video", 1)]])
    pixels, grid = inputs["pixel_values_videos"], inputs["video_grid_thw"]
    real = counted(lambda: model.model.get_video_features(pixels, grid))
    steps, rows, columns = grid[0].tolist()
    cost = encode(model.config, Media(frames=steps, height=14 * rows, width=14 * columns))
    assert list(cost.groups) == [rows * columns // 4] * (steps // 2)
    assert cost.tower.flops + cost.projector.flops == pytest.approx(real, rel=0.02)


@pytest.mark.every_family
@pytest.mark.parametrize("name", NAME)
def test_a_picture_has_the_tokens_of_its_processor(name):
    config, process = families()[name].tiny().config, Ernie4_5_VLMoeImageProcessor()
    for size in ((480, 640), (20, 1000), (31, 33), (3000, 4000)):
        patches = process.get_number_of_image_patches(*size, {})
        assert encode(config, Media(height=size[0], width=size[1])).tokens == patches // 4


@pytest.mark.every_family
@pytest.mark.parametrize("name", NAME)
def test_a_prefill_costs_what_torch_counts(tmp_path, name):
    model = families()[name].tiny()
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    config = model.config
    kinds = torch.tensor([[1] * 150 + [0] * 50])
    states = torch.randn(1, 200, 64)
    llm = model.model.language_model
    real = counted(lambda: llm(inputs_embeds=states, moe_mm_token_type_ids=kinds))
    head = 2 * 64 * config.text_config.vocab_size
    cost = prefill_cost(config, [150] * 6, 50)
    assert cost.flops == pytest.approx(real + head, rel=0.01)
    swapped = counted(lambda: llm(inputs_embeds=states, moe_mm_token_type_ids=1 - kinds))
    assert cost.flops != pytest.approx(swapped + head, rel=0.01)
    config.save_pretrained(tmp_path)
    assert read_llm(read_config(str(tmp_path))) == read_llm(config)
