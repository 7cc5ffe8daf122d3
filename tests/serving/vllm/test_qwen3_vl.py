"""Qwen3-VL in an engine: positions, DeepStack's columns, and clips with times between frames."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

FAMILY = "qwen3_vl"
QUARTER = {"method": "aim-merge", "keep": 0.25}
HALF = {"method": "aim-merge", "keep": 0.5}
DIVERSE = {"method": "divprune", "keep": 0.3}
LOOK = "<|vision_start|><|image_pad|><|vision_end|>what is in it? "
WATCH = "<|vision_start|><|video_pad|><|vision_end|>how many are there? "
ENGINE = {"enable_chunked_prefill": True, "max_num_batched_tokens": 48}


def check(llm, reference, *requests):
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)
    found = engine.ask(llm, *requests)
    assert [(s.prompt, s.tokens) for s in found] == [(s.prompt, s.tokens) for s in expected]


def test_pictures(llm, reference):
    one, two = checkpoints.picture(1, (256, 192)), checkpoints.picture(2, (128, 256))
    check(
        llm,
        reference,
        *(
            {"prompt": LOOK, "image": [one], "foveate": foveate}
            for foveate in (None, QUARTER, HALF, DIVERSE, {"method": "fovea-merge", "keep": 0.2})
        ),
        {"prompt": LOOK * 2, "image": [one, two], "foveate": QUARTER},
    )


def test_clips(llm, reference):
    clip = checkpoints.timed_clip(1, 6, (128, 96))
    check(
        llm,
        reference,
        *({"prompt": WATCH, "video": [clip], "foveate": foveate} for foveate in (None, QUARTER, HALF)),
        {"prompt": LOOK + WATCH, "image": [checkpoints.picture(3, (128, 128))], "video": [clip],
         "foveate": DIVERSE},
    )  # fmt: skip


@pytest.mark.parametrize("method", ["fovea-merge", "evs", "vidcom2"])
def test_what_shares_a_budget_among_frames_is_refused_for_clips(llm, method):
    request = {"prompt": WATCH, "video": [checkpoints.timed_clip(2, 6, (128, 96))]}
    with pytest.raises(InputError, match="text between the frames"):
        engine.ask(llm, {**request, "foveate": {"method": method, "keep": 0.5}})
    assert engine.ask(llm, request)
