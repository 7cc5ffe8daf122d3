"""LLaVA-OneVision in an engine with a budget for all requests: pictures, clips, and both."""

import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

FAMILY = "llava_onevision"
QUARTER = {"method": "aim-merge", "keep": 0.25}
HALF = {"method": "aim-merge", "keep": 0.5}
ENGINE = {"hf_overrides": {"foveate": QUARTER}, "enable_mm_embeds": True}
LOOK, WATCH = "what is in <image>? ", "how many are in <video>? "


def shown(prompt, foveate, **media):
    """A request, and what it means: the engine's budget goes for what asks for none."""
    request = {"prompt": prompt, **media}
    asked = request if foveate == "default" else {**request, "foveate": foveate}
    return asked, {**request, "foveate": QUARTER if foveate == "default" else foveate}


def check(llm, reference, *cases):
    asked, meant = zip(*cases, strict=True)
    expected = [reference.ask(request) for request in meant]
    assert len({said.tokens for said in expected}) == len(expected)
    assert engine.same(engine.ask(llm, *asked), expected)


def test_pictures(llm, reference):
    square, wide = checkpoints.picture(1), checkpoints.picture(2, (112, 56))
    check(
        llm,
        reference,
        shown(LOOK, None, image=[square]),
        shown(LOOK, "default", image=[square]),
        shown(LOOK, HALF, image=[wide]),
        shown(LOOK, "default", image=[checkpoints.picture(2, (90, 200))]),
        shown(LOOK * 2, None, image=[square, wide]),
        shown(LOOK * 2, "default", image=[square, wide]),
    )


def test_clips(llm, reference):
    check(
        llm,
        reference,
        *(
            shown(WATCH, foveate, video=[checkpoints.clip(1, 5)])
            for foveate in (None, "default", HALF, {"method": "divprune", "keep": 0.3})
        ),
        shown(WATCH, "default", video=[checkpoints.clip(2, 4)]),
        shown(
            LOOK + WATCH, "default", image=[checkpoints.picture(1)], video=[checkpoints.clip(1, 3)]
        ),
    )


def test_clips_of_several_lengths_that_are_not_reduced(llm, reference):
    lengths = (2, 5, 3)
    check(
        llm,
        reference,
        *(shown(WATCH, None, video=[checkpoints.clip(n, n)]) for n in lengths),
    )


METHODS = [
    {"method": "fovea-merge", "keep": 0.25},
    {"method": "pool", "keep": 0.5},
    {"method": "resize-grid", "keep": 0.5},
    {"method": "random", "keep": 0.5},
    {"method": "evs", "keep": 0.4},
    {"method": "vidcom2", "keep": 0.4},
    {"method": "apet", "keep": 0.4},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["method"])
def test_every_method_is_as_in_transformers(llm, reference, method):
    check(
        llm,
        reference,
        shown(LOOK, method, image=[checkpoints.picture(3, (100, 70))]),
        shown(WATCH, method, video=[checkpoints.clip(3, 5)]),
    )


def test_embeddings_made_outside_are_taken_as_they_are(llm, reference):
    request = {"prompt": LOOK, "image": [checkpoints.picture(7)]}
    inputs = reference.processor(text=LOOK, images=request["image"], return_tensors="pt")
    with torch.no_grad():
        features = reference.model.model.get_image_features(
            inputs["pixel_values"], inputs["image_sizes"]
        ).pooler_output[0]
    made = {"prompt": LOOK, "image": features[None]}
    # in one batch, though they differ in length
    whole, one = engine.ask(llm, made, {"prompt": LOOK, "image": features[None, :1]})
    assert engine.same([whole], [reference.ask({**request, "foveate": None})])
    assert one.prompt == inputs["input_ids"].shape[1] - len(features) + 1
    with pytest.raises(InputError, match="embeddings are taken as they are"):
        engine.ask(llm, {**made, "foveate": HALF})
