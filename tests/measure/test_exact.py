"""The exact convention against torch's FlopCounterMode, at real sizes."""

import pytest
import torch

from counted import FIELDS, counted, on_meta, transformers_config
from foveate.measure.configs import read_config
from foveate.measure.cost import decode_cost, prefill_cost
from foveate.measure.shapes import read_llm
from foveate.measure.vision.encoder import Media, encode

TOLERANCE = 0.01
# their code reads values of position or mask tensors, so a small copy is run on the CPU instead
READS_VALUES = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm", "paligemma"}


@pytest.mark.parametrize("name", [n for n in FIELDS if FIELDS[n]["model_type"] != "paligemma"])
def test_prefill(name):
    config = transformers_config(name, layers=8)
    model = on_meta(config)
    states = torch.empty(1, 700, config.text_config.hidden_size, device="meta")
    real = counted(lambda: model(inputs_embeds=states, logits_to_keep=1))
    assert prefill_cost(config, [600] * 8, 100).flops == pytest.approx(real, rel=TOLERANCE)


@pytest.mark.parametrize("name", [n for n in FIELDS if FIELDS[n]["model_type"] not in READS_VALUES])
def test_tower_and_projector(name):
    config = transformers_config(name, layers=1)
    core = on_meta(config).model
    size = config.vision_config.image_size
    size = size if isinstance(size, int) else size[0]
    if config.model_type == "llava_onevision":  # base view and one tile
        pixels, more = (
            torch.empty(1, 2, 3, size, size, device="meta"),
            [torch.tensor([[size, size]])],
        )
    else:
        pixels, more = torch.empty(1, 3, size, size, device="meta"), []
    encoded = encode(config, Media())
    real = counted(lambda: core.get_image_features(pixels, *more))
    ours = encoded.tower.flops + encoded.projector.flops
    assert ours == pytest.approx(real, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b"])
def test_qwen_tower_and_merger(name):
    config = transformers_config(name, layers=1)
    vision = config.vision_config
    vision.depth, vision.num_heads = 4, 4
    for field in ("embed_dim", "intermediate_size", "out_hidden_size"):
        if hasattr(vision, field):
            setattr(vision, field, 128)
    vision.hidden_size = 128
    if name == "qwen2.5-vl-7b":
        vision.fullatt_block_indexes = [1, 3]
    if name == "qwen3-vl-8b":
        vision.deepstack_visual_indexes = [0, 2]
    config.text_config.hidden_size, config.text_config.intermediate_size = 128, 128
    config.text_config.vocab_size, config.text_config.num_attention_heads = 64, 4
    config.text_config.head_dim = 32
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    rows, columns = 24, 18  # windows of 8 x 8 patches do not fit evenly
    patch = vision.patch_size
    channels = 3 * vision.temporal_patch_size * patch**2
    pixels, grid = torch.randn(2 * rows * columns, channels), torch.tensor([[2, rows, columns]])
    real = counted(lambda: model.model.get_image_features(pixels, grid))
    encoded = encode(config, Media(frames=4, height=rows * patch, width=columns * patch))
    assert encoded.groups == (rows * columns // 4,) * 2
    ours = encoded.tower.flops + encoded.projector.flops
    assert ours == pytest.approx(real, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["idefics3-8b", "smolvlm-256m", "paligemma-3b"])
def test_small_copies_of_families_that_read_values(name):
    config = transformers_config(name, layers=1)
    vision = config.vision_config
    vision.num_hidden_layers = 2
    config.text_config.vocab_size = 300000 if name == "paligemma-3b" else 130000
    config.text_config.hidden_size, config.text_config.intermediate_size = 64, 64
    vision.hidden_size, vision.intermediate_size, vision.num_attention_heads = 64, 128, 4
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    size = vision.image_size
    shape = (1, 3, size, size) if name == "paligemma-3b" else (1, 1, 3, size, size)
    real = counted(lambda: model.model.get_image_features(torch.ones(shape)))
    encoded = encode(config, Media())
    ours = encoded.tower.flops + encoded.projector.flops
    assert ours == pytest.approx(real, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["llava-onevision-0.5b", "gemma-3-4b"])
def test_decoding_and_cache(name):
    config = transformers_config(name, layers=6)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.vocab_size = 128, 256, 500
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 4, 2, 32
    if name == "gemma-3-4b":
        text.sliding_window = 16
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(text, attn_implementation="eager").eval()
    with torch.no_grad():
        cache = model(torch.zeros(1, 40, dtype=torch.long)).past_key_values

    def step():
        model(torch.zeros(1, 1, dtype=torch.long), past_key_values=cache, logits_to_keep=1)

    real = counted(lambda: [step() for _ in range(5)])
    cost = decode_cost(config, [40] * 6, 5)
    assert cost.flops == pytest.approx(real, rel=TOLERANCE)
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert cost.kv_elements == held


@pytest.mark.parametrize("name", FIELDS)
def test_transformers_config_and_plain_fields_give_the_same(name, tmp_path):
    config = transformers_config(name)
    config.save_pretrained(tmp_path)
    plain = read_config(str(tmp_path))
    assert read_llm(plain) == read_llm(config)
    assert encode(plain, Media()) == encode(config, Media())


def test_defaults_are_those_of_transformers():
    from transformers import AutoConfig

    from foveate.measure.configs import DEFAULTS

    for kind, fields in DEFAULTS.items():
        config = AutoConfig.for_model(kind)
        assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("tiles", "height", "width"), [((1, 1), 384, 384), ((2, 1), 700, 380), ((2, 3), 768, 1152),
                                   ((6, 6), 2300, 2304), ((3, 6), 1000, 2301)]
)  # fmt: skip
def test_onevision_tokens_are_those_of_its_model(tiles, height, width):
    config = transformers_config("llava-onevision-0.5b", layers=1)
    core = on_meta(config).model
    views = 1 + tiles[0] * tiles[1]
    pixels = torch.empty(1, views, 3, 384, 384, device="meta")
    features = core.get_image_features(pixels, torch.tensor([[height, width]])).pooler_output
    encoded = encode(config, Media(height=height, width=width))
    assert encoded.tokens == len(features[0])
