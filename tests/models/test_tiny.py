"""Tiny models are worth testing on: what they are shown matters to what they say."""

import torch

from foveate.testing import tiny as make_tiny


def test_pictures_matter(tiny):
    model, inputs = tiny
    name = "pixel_values_videos" if "pixel_values_videos" in inputs else "pixel_values"
    other = {**inputs, name: inputs[name].flip(-1)}
    with torch.no_grad():
        change = (model(**inputs).logits - model(**other).logits)[0, -1].abs().max()
    assert change > 1e-3


def test_tiny_models_are_the_same_every_time(tiny):
    model, inputs = tiny
    modality = "video" if "pixel_values_videos" in inputs else "image"
    again, _ = make_tiny(model.config.model_type, modality)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)
