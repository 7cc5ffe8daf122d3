"""LFM2-VL: tokens are those of its processor, and encoding costs what torch counts."""

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import Lfm2VlImageProcessor

from counted import counted
from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families

SIZES = [
    (480, 640),
    (64, 64),
    (20, 900),
    (512, 512),
    (724, 724),
    (725, 730),
    (1080, 1920),
    (3000, 200),
]


@pytest.mark.every_family
@pytest.mark.parametrize("name", ["lfm2_vl"])
@pytest.mark.parametrize("size", SIZES)
def test_tokens_and_flops(name, size):
    model = families()[name].tiny()
    model.set_attn_implementation("eager")
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    given = dict(Lfm2VlImageProcessor()(picture, return_tensors="pt"))
    groups = [len(entry) for entry in model.model.get_image_features(**given).pooler_output]
    real = counted(lambda: model.model.get_image_features(**given))
    cost = encode(model.config, Media(height=size[0], width=size[1]))
    assert list(cost.groups) == groups
    if Version(transformers.__version__) < Version("5.24"):
        return  # positions are resized without a product, which is much beside a tiny tower
    assert cost.tower.flops + cost.projector.flops == pytest.approx(real, rel=0.02)
