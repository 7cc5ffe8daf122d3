"""Idefics2: tokens are those of its processor, and encoding costs what torch counts."""

import pytest
import torch
from transformers import Idefics2ImageProcessor

from counted import counted
from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families


@pytest.mark.every_family
@pytest.mark.parametrize("name", ["idefics2"])
@pytest.mark.parametrize("size", [None, (480, 640), (1200, 901), (300, 2001)])
def test_tokens_and_flops(name, size):
    model = families()[name].tiny()
    model.set_attn_implementation("eager")
    model.requires_grad_(False)  # torch's counter hooks gradients of parameters that are inputs
    given, media = {"pixel_values": torch.ones(1, 1, 3, 112, 112)}, Media()
    if size is not None:
        picture = torch.full((3, *size), 99, dtype=torch.uint8)
        given = Idefics2ImageProcessor(do_image_splitting=True)([[picture]], return_tensors="pt")
        media = Media(height=size[0], width=size[1])
    (found,) = model.model.get_image_features(**given).pooler_output
    real = counted(lambda: model.model.get_image_features(**given))
    cost = encode(model.config, media)
    assert cost.tokens == len(found)
    assert len(cost.groups) == given["pixel_values"].shape[1]
    assert cost.tower.flops + cost.projector.flops == pytest.approx(real, rel=0.02)
