"""Pictures of MiniCPM-V 4.6 are sliced as its processor does."""

import random

import pytest
from transformers import MiniCPMV4_6ImageProcessor

from foveate.cost.vision.encoder import Media, encode
from foveate.models.family import families

EDGES = [(448, 448), (10, 500), (3000, 3500), (9000, 300), (449, 448), (896, 896), (1, 1)]


@pytest.mark.every_family
@pytest.mark.parametrize("mode", ["16x", "4x"])
@pytest.mark.parametrize("name", ["minicpmv4_6"])
def test_slices_are_those_of_the_processor(name, mode):
    config, draw = families()[name].tiny().config, random.Random(0)
    process = MiniCPMV4_6ImageProcessor()
    config.downsample_mode = mode
    for size in EDGES + [(draw.randint(20, 3000), draw.randint(20, 3000)) for _ in range(200)]:
        grid = process.get_sliced_grid(size, 9, 448)
        fit = {"scale_resolution": 448, "patch_size": 14, "downsample_mode": mode}
        whole = process.find_best_resize(size, **fit, allow_upscale=grid is None)
        groups = [whole]
        if grid is not None:
            tall, wide = process.get_refine_size(size, grid, **fit, allow_upscale=True)
            groups += [(tall // grid[0], wide // grid[1])] * (grid[0] * grid[1])
        side = 14 * (2 if mode == "4x" else 4)
        found = encode(config, Media(height=size[0], width=size[1]))
        assert found.grids == tuple((tall // side, wide // side) for tall, wide in groups), size
