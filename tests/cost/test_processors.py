"""Visual tokens told by a config alone are those that each family's processor makes room for.

Families that cut tiles have theirs in `test_tiles.py`.
"""

import random

import pytest
from transformers import (
    CLIPImageProcessor,
    Gemma3ImageProcessor,
    Gemma3Processor,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaNextVideoProcessor,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PixtralImageProcessor,
    PixtralProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
)

from foveate.cost.configs import read_config
from foveate.cost.vision.encoder import Media, encode
from foveate.cost.vision.pixtral import _cells

SQUARE = {"height": 336, "width": 336}
CLIP = {
    "patch_size": 14,
    "num_additional_image_tokens": 1,
    "vision_feature_select_strategy": "default",
}


def qwen(patch):
    return Qwen2VLImageProcessor(patch_size=patch, merge_size=2)


# name -> class of the processor, its image processor, and what its published settings say beside it
PROCESSORS = {
    "llava-1.5-7b": (LlavaProcessor, lambda: CLIPImageProcessor(crop_size=SQUARE), CLIP),
    "llava-v1.6-vicuna-7b": (
        LlavaNextProcessor,
        lambda: LlavaNextImageProcessor(size={"shortest_edge": 336}),
        CLIP,
    ),
    "llava-next-video-7b": (
        LlavaNextVideoProcessor,
        lambda: LlavaNextImageProcessor(size={"shortest_edge": 336}),
        CLIP,
    ),
    "llava-onevision-7b": (
        LlavaOnevisionProcessor,
        LlavaOnevisionImageProcessor,
        {
            "num_image_tokens": 729,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
    ),
    "qwen2-vl-7b": (Qwen2VLProcessor, lambda: qwen(14), {}),
    "qwen2.5-vl-7b": (Qwen2_5_VLProcessor, lambda: qwen(14), {}),
    "qwen3-vl-8b": (Qwen3VLProcessor, lambda: qwen(16), {}),
    "gemma-3-4b": (Gemma3Processor, Gemma3ImageProcessor, {"image_seq_length": 256}),
    "mistral-small-3.1-24b": (
        PixtralProcessor,
        lambda: PixtralImageProcessor(size={"longest_edge": 1540}, patch_size=14),
        {"patch_size": 14, "spatial_merge_size": 2},
    ),
}


def processor(name):
    """One without a tokenizer, which counts nothing."""
    kind, images, settings = PROCESSORS[name]
    made = object.__new__(kind)
    vars(made).update(
        settings, image_processor=images(), _merge_kwargs=lambda **given: {"images_kwargs": {}}
    )
    return made


def sizes(count):
    """Heights and widths, at most 40 to 1."""
    draw = random.Random(0)
    any_ = [(draw.randint(75, 3000), draw.randint(75, 3000)) for _ in range(count)]
    even = [(draw.randint(1, 8) * 336, draw.randint(1, 8) * 336) for _ in range(count // 4)]
    return any_ + even


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_pictures_tokens_are_those_of_the_processor(name):
    config, drawn = read_config(name), sizes(300)
    real = processor(name)._get_num_multimodal_tokens(image_sizes=drawn)["num_image_tokens"]
    for (height, width), tokens in zip(drawn, real, strict=True):
        found = encode(config, Media(height=height, width=width)).tokens
        if (
            config.model_type == "mistral3"
        ):  # its processor counts a break behind each row, which is text
            found += _cells((height, width), 28, 1540)[0]
        assert found == tokens, (height, width)
