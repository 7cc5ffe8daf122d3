"""Qwen2.5-VL in a real engine: what stays of a picture keeps its position, and text behind it too."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from serving.vllm import checkpoints, engine

FAMILY = "qwen2_5_vl"
QUARTER = {"method": "aim-merge", "keep": 0.25}
HALF = {"method": "aim-merge", "keep": 0.5}
DIVERSE = {"method": "divprune", "keep": 0.3}
LOOK = "<|vision_start|><|image_pad|><|vision_end|>what is in it? "
WATCH = "<|vision_start|><|video_pad|><|vision_end|>how many are there? "
ENGINE = {"enable_chunked_prefill": True, "max_num_batched_tokens": 64}  # pictures come in chunks


def check(llm, reference, *requests):
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)
    found = engine.ask(llm, *requests)
    assert [(s.prompt, s.tokens) for s in found] == [(s.prompt, s.tokens) for s in expected]


def test_pictures(llm, reference):
    one, two = checkpoints.picture(1, (224, 168)), checkpoints.picture(2, (112, 224))
    check(
        llm,
        reference,
        *(
            {"prompt": LOOK, "image": [one], "foveate": foveate}
            for foveate in (
                None,
                QUARTER,
                HALF,
                DIVERSE,
                {"method": "fovea-merge", "keep": 0.2},
                {"method": "cdpruner", "keep": 0.3},
            )
        ),
        {"prompt": LOOK * 2, "image": [one, two], "foveate": QUARTER},
    )


def test_clips(llm, reference):
    # as long as high: transformers' text behind a clip goes on after its rows or columns, vLLM's after
    # its time steps too, if these are more
    clip = checkpoints.timed_clip(1, 6, (224, 112))
    check(
        llm,
        reference,
        *({"prompt": WATCH, "video": [clip], "foveate": foveate} for foveate in (None, QUARTER, HALF)),
        {"prompt": WATCH, "video": [clip], "foveate": {"method": "evs", "keep": 0.4}},
        {"prompt": LOOK + WATCH, "image": [checkpoints.picture(3, (112, 112))], "video": [clip],
         "foveate": DIVERSE},
    )  # fmt: skip


def test_what_was_read_before_keeps_its_positions(llm, reference, encoded):
    request = {"prompt": LOOK * 2 + "and why? " * 9, "image": [checkpoints.picture(8, (112, 112))] * 2,
               "foveate": HALF}  # fmt: skip
    expected = [reference.ask(request)]
    assert engine.same(engine.ask(llm, request), expected)
    first = len(encoded)
    again = engine.ask(llm, request)
    assert engine.same(again, expected)
    assert again[0].cached >= 32
    assert len(encoded) == first
