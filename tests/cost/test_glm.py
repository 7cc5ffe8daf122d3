"""Pictures and clips of GLM have the size that its processors give them."""

import random

import pytest
from transformers import Glm4vImageProcessor, Glm4vVideoProcessor
from transformers.models.glm4v.image_processing_glm4v import smart_resize

from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families

SIZES = [(200, 300), (13, 40), (28, 28), (3000, 3500), (5000, 4000), (100, 9000)]


@pytest.fixture
def config():
    return families()["glm4v"].tiny().config


def sizes(count):
    draw = random.Random(0)
    return SIZES + [(draw.randint(20, 5000), draw.randint(60, 3000)) for _ in range(count)]


def test_a_pictures_tokens_are_those_of_the_processor(config):
    process = Glm4vImageProcessor()
    for height, width in sizes(200):
        patches = process.get_number_of_image_patches(height, width, {})
        assert encode(config, Media(height=height, width=width)).tokens == patches // 4


@pytest.mark.parametrize("frames", [2, 4, 5, 16, 300])
def test_a_clips_tokens_are_those_of_the_processor(config, frames):
    size = Glm4vVideoProcessor().size
    limits = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    for height, width in sizes(50):
        tall, wide = smart_resize(frames, height, width, **limits)
        found = encode(config, Media(frames=frames, height=height, width=width))
        assert found.groups == (tall * wide // 28**2,) * ((frames + 1) // 2)


def test_a_limit_holds_for_one_picture(config):
    media = Media(height=2000, width=2000, max_pixels=28 * 28 * 100)
    assert encode(config, media).groups == (100,)
