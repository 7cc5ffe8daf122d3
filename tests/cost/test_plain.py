"""What encoding costs is what torch counts, on the tiny model of each family that the rules carry."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from foveate.cost.vision import minicpm, plain
from foveate.cost.vision.encoder import Media, encode
from foveate.errors import UnsupportedError
from foveate.models.family import families
from foveate.runtime.watch_encoding import watch_encoding

FAMILIES = (
    "aya_vision", "cohere2_vision", "deepseek_ocr2", "deepseek_vl", "ernie4_5_vl_moe", "glm46v", "glm4v",
    "glm4v_moe", "glm_ocr", "kimi_k25", "lighton_ocr", "minicpmv4_6", "paddleocr_vl", "paligemma",
    "qianfan_ocr", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "qwen3_vl_moe", "step3p7",
    "vipllava",
)  # fmt: skip


@pytest.mark.every_family
@pytest.mark.parametrize("name", FAMILIES)
def test_encoding_costs_what_torch_counts(monkeypatch, name):
    monkeypatch.setattr(plain, "PADDLE_PIXELS", (1, 10**6))  # the tiny picture is smaller
    monkeypatch.setattr(minicpm, "SLICE", 300)
    family = families()[name]
    model, seen = family.tiny(), {}
    model.set_attn_implementation("eager")

    def counted(modality, encode, arguments):
        with FlopCounterMode(display=False) as counter:
            output = encode()
        labels = family.groups(model.model, modality, arguments, output.pooler_output)
        groups = [n for entry in labels for n in entry.bincount().tolist()]
        seen.update(flops=counter.get_total_flops(), groups=groups, arguments=arguments)
        return output

    with torch.no_grad(), watch_encoding(model.model, counted):
        model(**family.tiny_inputs(model.config, [[("image", 2)]]))
    cost = encode(model.config, media(model.config, **seen["arguments"]))
    assert list(cost.groups) == seen["groups"]
    assert cost.tower.flops + cost.projector.flops == pytest.approx(seen["flops"], rel=0.02)


def media(config, image_grid_thw=None, image_sizes=None, target_sizes=None, **_) -> Media:
    """The one picture that was shown, with its size where the encoder takes any."""
    if image_grid_thw is not None:
        patch = config.vision_config.patch_size
        _, rows, columns = image_grid_thw[0].tolist()
        return Media(height=rows * patch, width=columns * patch)
    if target_sizes is not None:
        rows, columns = (target_sizes[0] * config.vision_config.patch_size).tolist()
        return Media(height=rows, width=columns)
    if image_sizes is not None:
        return Media(height=int(image_sizes[0, 0]), width=int(image_sizes[0, 1]))
    return Media()


def test_tiles_that_only_the_processor_knows_are_not_told():
    config = families()["aya_vision"].tiny().config
    with pytest.raises(UnsupportedError, match="300 x 400 pixels are, the processor of aya_vision"):
        encode(config, Media(height=300, width=400))
