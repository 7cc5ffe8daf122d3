"""Tiles are those that transformers' own processors cut, at the published models' settings."""

import json
import random

import pytest
import torch
from transformers import GotOcr2ImageProcessor, Idefics3ImageProcessor, SmolVLMImageProcessor
from transformers.models.internvl import processing_internvl

from command import run
from foveate.cost.configs import read_config
from foveate.cost.vision import tiled
from foveate.cost.vision.encoder import Media, encode

MANY = 2000


def square(side):
    return {"size": {"longest_edge": 4 * side}, "max_image_size": {"longest_edge": side}}


def internvl():
    return GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True)


# name -> what its published preprocessor_config.json says, where that is not the class's default
PROCESSORS = {
    "internvl3-8b": internvl,
    "idefics3-8b": Idefics3ImageProcessor,
    "smolvlm-256m": lambda: SmolVLMImageProcessor(**square(512)),
    "smolvlm-2.2b": lambda: SmolVLMImageProcessor(**square(384)),
}
TOKENS = {"internvl3-8b": 256, "idefics3-8b": 169, "smolvlm-256m": 64, "smolvlm-2.2b": 81}


def sizes(count):
    """Heights and widths: any, long ones, and those of a grid's own shape, where several are nearest."""
    draw = random.Random(0)
    any_ = [(draw.randint(1, 3000), draw.randint(1, 3000)) for _ in range(count)]
    long = [(draw.randint(1, 60), draw.randint(1, 3000)) for _ in range(count // 4)]
    even = [
        tuple(draw.randint(1, 8) * draw.choice([91, 112, 224, 448, 512]) for _ in range(2))
        for _ in range(count // 2)
    ]
    return [*any_, *long, *[pair[::-1] for pair in long], *even]


@pytest.mark.parametrize("name", PROCESSORS)
def test_tiles_are_those_of_the_processor(name):
    processor, config = PROCESSORS[name](), read_config(name)
    for height, width in sizes(MANY):
        real = processor.get_number_of_image_patches(height, width)
        tiles = real[0] if isinstance(real, tuple) else real
        found = encode(config, Media(height=height, width=width)).groups
        assert found == (TOKENS[name],) * tiles, (height, width)
        if isinstance(real, tuple):
            assert tiled.idefics3_grid((height, width), config.vision_config.image_size) == real[1:]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(448, 1344), (1344, 448), (100, 99), (9, 300), (700, 700)])
def test_tiles_are_those_that_are_really_cut(name, size):
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    pixels = PROCESSORS[name]()(picture, return_tensors="pt")["pixel_values"]
    found = encode(read_config(name), Media(height=size[0], width=size[1]))
    assert len(found.groups) == pixels.flatten(0, -4).shape[0]


def test_internvl_is_cut_by_default_and_processors_keep_their_limits():
    words = getattr(processing_internvl.InternVLProcessor, "images_kwargs", None)
    if words is None:  # before transformers 5.23
        words = processing_internvl.InternVLProcessorKwargs._defaults["images_kwargs"]
    assert words["crop_to_patches"] is True
    assert (internvl().min_patches, internvl().max_patches) == (1, tiled.MOST_TILES)
    for processor in (Idefics3ImageProcessor(), SmolVLMImageProcessor()):
        assert processor.do_image_splitting
        edge, tile = processor.size["longest_edge"], processor.max_image_size["longest_edge"]
        assert edge == tiled.LONGEST_EDGE * tile


@pytest.mark.parametrize(
    ("name", "media", "tiles"),
    [
        ("internvl3-8b", Media(), 1),
        ("internvl3-8b", Media(height=448, width=1344), 4),
        ("internvl3-8b", Media(images=3, height=448, width=1344), 12),
        ("internvl3-8b", Media(frames=5, height=448, width=1344), 5),
        ("idefics3-8b", Media(), 17),
        ("smolvlm-256m", Media(frames=5, height=448, width=1344), 5),
        ("gemma-3-4b", Media(height=448, width=1344), 1),
    ],
)
def test_a_cost_is_that_of_its_tiles(name, media, tiles):
    config = read_config(name)
    one, all_ = encode(config, Media(frames=1)), encode(config, media)
    assert all_.groups == one.groups * tiles
    assert all_.tower.flops == tiles * one.tower.flops
    assert all_.projector.flops == tiles * one.projector.flops


def test_the_command_counts_them():
    out = run("cost", "internvl3-8b", "--size", "448x1344", "--json")
    assert json.loads(out.stdout)["visual_tokens_in"] == 4 * 256
