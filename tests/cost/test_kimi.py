"""Pictures and clips of Kimi K2.5 have the size that its processors give them."""

import random

import pytest
from transformers import Kimi_K25ImageProcessor, Kimi_K25VideoProcessor

from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families


@pytest.fixture
def config():
    config = families()["kimi_k25"].tiny().config
    config.vision_config.pos_emb_time = 4
    return config


def sizes(count):
    draw = random.Random(0)
    edge = [(10, 40), (28, 28), (3000, 3500), (9000, 300), (448, 29)]
    return edge + [(draw.randint(5, 5000), draw.randint(5, 5000)) for _ in range(count)]


def test_a_pictures_tokens_are_those_of_the_processor(config):
    process = Kimi_K25ImageProcessor()
    for height, width in sizes(200):
        patches = process.get_number_of_image_patches(height, width, {})
        assert encode(config, Media(height=height, width=width)).tokens == patches // 4


@pytest.mark.parametrize("frames", [1, 4, 6])
def test_four_frames_have_the_tokens_of_one(config, frames):
    process = Kimi_K25ImageProcessor()
    for height, width in sizes(50):
        limit = {"max_patches": Kimi_K25VideoProcessor.max_patches}
        patches = process.get_number_of_image_patches(height, width, limit)
        found = encode(config, Media(frames=frames, height=height, width=width))
        assert found.groups == (patches // 4,) * (1 + frames // 5)
