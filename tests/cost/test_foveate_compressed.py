"""What a compressed model's pictures cost is what its modules compute."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from counted import counted
from foveate.compress.learned import learned
from foveate.cost.configs import read_config
from foveate.cost.vision.encoder import Media, encode
from foveate.models.compressed import CompressedForConditionalGeneration
from foveate.models.family import families

KNOBS = {"m3": {"kernels": [1, 2]}, "mqt": {"most": 3, "heads": 2}}
LEVELS = {"quecc", "tokenpacker"}
SIDE = 56  # 4 x 4 patches
SIZES = [(56, 56), (56, 112), (100, 90)]


def model_of(name="average-pool", **more):
    config = families()["foveate_compressed"].tiny().config
    config.compressor = {"name": name, **KNOBS.get(name, {"kernel": 2})}
    config.multi_level_layers = [0, 1] if name in LEVELS else None
    for field, value in more.items():
        setattr(config, field, value)
    return CompressedForConditionalGeneration(config).eval().requires_grad_(False)


def check(model, media, call):
    found = []
    with sdpa_kernel(SDPBackend.MATH):
        real = counted(lambda: found.append(call()))
    encoded = encode(model.config, media)
    assert encoded.tokens == sum(len(picture) for picture in found[0].pooler_output)
    assert encoded.tower.flops + encoded.projector.flops == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("name", learned())
def test_every_compressor(name):
    model = model_of(name)
    core = model.model
    check(model, Media(images=2), lambda: core.get_image_features(torch.zeros(2, 1, 3, SIDE, SIDE)))
    clip = torch.zeros(1, 3, 3, SIDE, SIDE)
    check(model, Media(frames=3), lambda: core.get_video_features(clip))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("views", ["base", "all"])
def test_tiles_are_compressed_where_views_are_all(views, size):
    model = model_of(views=views)
    pixels = torch.zeros(1, 5, 3, SIDE, SIDE)

    def call():
        return model.model.get_image_features(pixels, torch.tensor([size]))

    check(model, Media(height=size[0], width=size[1]), call)


def test_fewer_tokens_by_choice():
    model = model_of("mqt", visual_tokens=2)
    assert encode(model.config, Media(images=3)).groups == (2, 2, 2)


@pytest.mark.parametrize("name", learned())
def test_a_checkpoints_plain_fields_give_the_same(name, tmp_path):
    config = model_of(name).config
    config.save_pretrained(tmp_path)
    assert encode(read_config(str(tmp_path)), Media()) == encode(config, Media())
