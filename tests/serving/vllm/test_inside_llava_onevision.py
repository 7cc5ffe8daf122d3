"""LLaVA-OneVision, whose LLM is a Qwen2, in an engine that prunes inside it and merges nothing."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from serving.vllm import checkpoints, engine

FAMILY = "llava_onevision"
PYRAMID = {"method": "pyramiddrop", "after": [1, 2], "keep": 0.5}
ENGINE = {
    "hf_overrides": {"foveate": {**PYRAMID, "experimental": True}},
    "enable_prefix_caching": False, "enable_chunked_prefill": False,
    "max_model_len": 512, "max_num_batched_tokens": 512,
}  # fmt: skip
LOOK, WATCH = "what is in <image>? ", "how many are in <video>? "
REQUESTS = [
    {"prompt": LOOK, "image": [checkpoints.picture(1)]},
    {"prompt": "how many are there? "},
    {"prompt": WATCH, "video": [checkpoints.clip(1, 5)]},
    {
        "prompt": LOOK * 2 + WATCH,
        "image": [checkpoints.picture(2, (112, 56)), checkpoints.picture(3, (90, 200))],
        "video": [checkpoints.clip(2, 3)],
    },
]


def test_pictures_and_clips(llm, reference):
    meant = [reference.ask({**request, "foveate": PYRAMID}) for request in REQUESTS]
    whole = [reference.ask(request) for request in REQUESTS]
    assert [one.tokens == other.tokens for one, other in zip(meant, whole, strict=True)] == [
        "image" not in request and "video" not in request for request in REQUESTS
    ]
    # without a budget before the LLM, vLLM's own model takes no two clips of different lengths at once
    assert engine.same(engine.ask(llm, *REQUESTS[:3]), meant[:3])
    for request, said in zip(REQUESTS, meant, strict=True):
        assert engine.same(engine.ask(llm, request), [said])
