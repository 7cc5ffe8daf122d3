"""Placeholders that vLLM writes are as many as the tokens that come out, over sizes of pictures."""

import random
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

import foveate
from foveate.serving.vllm.budget import servable
from foveate.serving.vllm.layout import kept, shrink
from serving.vllm import checkpoints

TILED = {"llava_next": "LlavaNext", "llava_onevision": "LlavaOnevision"}


def stock_counts(family):
    """vLLM's own count of a picture's tokens, and the layout that the plug-in has of it."""
    from importlib import import_module

    config = checkpoints.MAKERS[family]()[0].config
    stock = import_module(f"vllm.model_executor.models.{family}")
    ours = import_module(f"foveate.serving.vllm.{family}")
    context = SimpleNamespace(get_hf_config=lambda kind: config)
    info = getattr(stock, f"{TILED[family]}ProcessingInfo")(context)

    def counts(wide, high):
        layout = ours.layout_of(config, "image", {"image_sizes": torch.tensor([high, wide])})
        return info.get_num_image_tokens(image_width=wide, image_height=high), layout

    return counts


@pytest.mark.parametrize("cases", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", TILED)
def test_placeholders_are_as_many_as_tokens(family, cases):
    counts, draw, names = stock_counts(family), random.Random(1), servable("before")
    for number in range(cases):
        size = draw.randint(1, 400), draw.randint(1, 400)
        placeholders, layout = counts(*size)
        assert placeholders == len(layout.group), size
        method = foveate.create(names[number % len(names)], keep=draw.uniform(0.02, 1)).before
        features, question = torch.rand(len(layout.group), 3), torch.rand(4, 3)
        left = shrink(features, layout, method, question=question)
        assert len(left.rows) == kept(method, layout), (size, method)
