"""The exact convention against torch's FlopCounterMode, at real sizes."""

import math

import pytest
import torch

from counted import FIELDS, counted, on_meta, transformers_config
from foveate.cost.configs import read_config
from foveate.cost.llm import decode_cost, prefill_cost
from foveate.cost.shapes import read_llm
from foveate.cost.vision.encoder import Media, encode
from foveate.models import anyres
from foveate.runtime.seams import cache_in, on_cache

TOLERANCE = 0.01
# their code reads values of position or mask tensors, so a small copy is run on the CPU instead
READS_VALUES = {
    "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "idefics3", "smolvlm", "paligemma", "mistral3"
}  # fmt: skip
NOT_ON_META = {"paligemma", "qwen3_vl_moe"}  # whose language models read values too
TILED = {"llava_onevision": 1, "llava_next": 2, "llava_next_video": 2}  # tiles of a square picture


@pytest.mark.parametrize("name", [n for n in FIELDS if FIELDS[n]["model_type"] not in NOT_ON_META])
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
    if config.model_type in TILED:  # and the base view
        views = 1 + TILED[config.model_type]
        pixels = torch.empty(1, views, 3, size, size, device="meta")
        more = [torch.tensor([[size, size]])]
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


@pytest.mark.parametrize("mode", ["average", "conv"])
def test_pooled_clips(mode):
    config = transformers_config("llava-next-video-7b", layers=1)
    config.spatial_pool_mode = mode
    core = on_meta(config).model
    pixels = torch.empty(1, 5, 3, 336, 336, device="meta")
    real = counted(lambda: core.get_video_features(pixels))
    encoded = encode(config, Media(frames=5))
    assert encoded.tower.flops + encoded.projector.flops == pytest.approx(real, rel=TOLERANCE)
    assert encoded.groups == (144,) * 5


@pytest.mark.parametrize(("images", "height", "width"), [(1, 300, 200), (2, 123, 1000)])
def test_pixtral_tower_and_merger(images, height, width):
    config = transformers_config("mistral-small-3.1-24b", layers=1)
    vision, text = config.vision_config, config.text_config
    vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size = 2, 64, 128
    vision.num_attention_heads, vision.head_dim, vision.image_size = 4, 16, 560
    text.hidden_size, text.intermediate_size, text.vocab_size = 64, 64, 64
    from transformers import AutoModelForImageTextToText, PixtralImageProcessor

    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    process = PixtralImageProcessor(size={"longest_edge": 560}, patch_size=28)
    given = process(
        [[picture] * images], return_tensors="pt", patch_size={"height": 28, "width": 28}
    )
    arguments = given["pixel_values"].flatten(0, -4), given["image_sizes"].view(-1, 2)
    features = model.model.get_image_features(*arguments).pooler_output
    real = counted(lambda: model.model.get_image_features(*arguments))
    encoded = encode(config, Media(images, height=height, width=width))
    assert encoded.groups == tuple(len(image) for image in features)
    assert encoded.tower.flops + encoded.projector.flops == pytest.approx(real, rel=TOLERANCE)


def test_experts():
    config = transformers_config("qwen3-vl-30b-a3b", layers=2)
    text = config.text_config
    text.hidden_size, text.moe_intermediate_size, text.vocab_size = 128, 96, 500
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 4, 2, 32
    from transformers import AutoModelForImageTextToText

    config.vision_config.depth, config.vision_config.out_hidden_size = 1, 128
    config.vision_config.deepstack_visual_indexes = [0]
    model = AutoModelForImageTextToText.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    ids = torch.arange(60)[None]
    real = counted(lambda: model(input_ids=ids, logits_to_keep=1))
    assert prefill_cost(config, [50, 50], 10).flops == pytest.approx(real, rel=TOLERANCE)
    many, picked, *_ = read_llm(config).experts[0]
    assert (many, picked) == (128, 8)


def test_a_prefill_reads_nearly_every_expert_and_a_step_only_its_own():
    llm = read_llm(transformers_config("qwen3-vl-30b-a3b", layers=2))
    assert llm.layer_reads(0, 1) == llm.layer_weights(0)
    everything = (llm.parameters - llm.width * llm.vocab) / 2
    assert 0.999 * everything < llm.layer_reads(0, 200) <= everything


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
    encoded = encode(config, Media(frames=1))  # a picture is cut into tiles, a frame is one
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
        cache = cache_in(model(torch.zeros(1, 40, dtype=torch.long)))

    def step():
        model(torch.zeros(1, 1, dtype=torch.long), **on_cache(model, cache), logits_to_keep=1)

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

    import foveate.models.compressed  # noqa: F401, a config class that transformers lacks
    from foveate.cost.configs import DEFAULTS

    for kind, fields in DEFAULTS.items():
        config = AutoConfig.for_model(kind)
        assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize("name", ["llava-onevision-0.5b", "llava-v1.6-mistral-7b"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(384, 384), (700, 380), (768, 1152), (2300, 2304), (1000, 2301), (100, 1000), (336, 336),
     (999, 334)],
)  # fmt: skip
def test_tiles_are_those_of_the_model(name, height, width):
    from foveate.models.family import family_of

    config = transformers_config(name, layers=1)
    model = on_meta(config)
    core, size = model.model, config.vision_config.image_size
    sizes = torch.tensor([[height, width]])
    real_tiles = anyres.grid_of(config, sizes[0])
    pixels = torch.empty(1, 1 + math.prod(real_tiles), 3, size, size, device="meta")
    features = core.get_image_features(pixels, sizes).pooler_output
    encoded = encode(config, Media(height=height, width=width))
    assert encoded.tokens == len(features[0])
    arguments = {"pixel_values": pixels, "image_sizes": sizes}
    (labels,) = family_of(model).groups(core, "image", arguments, features)
    real = sorted(labels.bincount().tolist())
    assert sum(real) == encoded.tokens
    if name != "llava-onevision-0.5b" or math.prod(real_tiles) <= 9:
        assert (
            sorted(encoded.groups) == real
        )  # resampled tiles blend: a row may count for the next one
    else:
        assert len(encoded.groups) == len(real)
        assert sorted(encoded.groups) == pytest.approx(real, abs=2 * 27)
