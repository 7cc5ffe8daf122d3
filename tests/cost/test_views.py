"""Local tiles of DeepSeek-OCR 2 and Step 3.7 are as many as their processors cut."""

import random

import pytest
from transformers import DeepseekOcr2ImageProcessor, Step3p7ImageProcessor

from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families

SIZES = [
    (728, 728),
    (1024, 1024),
    (31, 900),
    (900, 31),
    (5000, 400),
    (4000, 4000),
    (768, 769),
    (500, 300),
]


def sizes():
    draw = random.Random(0)
    return SIZES + [(draw.randint(20, 4000), draw.randint(20, 4000)) for _ in range(300)]


@pytest.fixture
def published():
    """Tiny models with the sides of the published pictures."""
    ocr, step = (families()[name].tiny().config for name in ("deepseek_ocr2", "step3p7"))
    ocr.vision_config.sam_config.image_size = 1024
    step.vision_config.image_size = 728
    return ocr, step


def test_views_of_deepseek_ocr2(published):
    process = DeepseekOcr2ImageProcessor()
    for height, width in sizes():
        tiles = process.get_number_of_image_patches(height, width) - 1
        found = encode(published[0], Media(height=height, width=width))
        assert found.groups == (144,) * tiles + (256, 1), (height, width)


def test_views_of_step3p7(published):
    process = Step3p7ImageProcessor()
    for height, width in sizes():
        tiles = process.get_number_of_image_patches(height, width)
        found = encode(published[1], Media(height=height, width=width))
        assert found.groups == (81,) * tiles + (169,), (height, width)
