"""The other families whose LLM may prune, a Llama and two Qwen2; nothing is merged before."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from serving.vllm import checkpoints, engine

PYRAMID = {"method": "pyramiddrop", "after": [1, 2], "keep": 0.5}
ENGINE = {
    "hf_overrides": {"foveate": {**PYRAMID, "experimental": True}},
    "enable_prefix_caching": False, "enable_chunked_prefill": False,
    "max_model_len": 512, "max_num_batched_tokens": 512,
}  # fmt: skip
WATCH = "how many are in <video>? "
TEXT = {"prompt": "how many are there? "}


def pictures(token):
    one, two = checkpoints.picture(2, (112, 56)), checkpoints.picture(3, (90, 200))
    look = f"what is in {token}? "
    first = {"prompt": look, "image": [checkpoints.picture(1)]}
    return [TEXT, first, {"prompt": look * 2, "image": [one, two]}]


@pytest.mark.parametrize(
    ("family", "requests"),
    [
        ("llava_next", pictures("<image>")),
        ("llava_onevision", [*pictures("<image>"), {"prompt": WATCH, "video": [checkpoints.clip(2, 5)]}]),
        ("internvl", [*pictures("<IMG_CONTEXT>"), {"prompt": WATCH, "video": [checkpoints.clip(2, 5)]}]),
    ],
)  # fmt: skip
def test_pictures_and_clips(tmp_path, family, requests):
    folder = checkpoints.save(family, tmp_path)
    reference = engine.Reference(folder)
    meant = [reference.ask({**request, "foveate": PYRAMID}) for request in requests]
    whole = [reference.ask(request) for request in requests]
    assert [one.tokens == other.tokens for one, other in zip(meant, whole, strict=True)] == [
        request is TEXT for request in requests
    ]
    llm = engine.start(folder, **ENGINE)
    assert engine.same(engine.ask(llm, *requests), meant)
    for request, said in zip(requests, meant, strict=True):
        assert engine.same(engine.ask(llm, request), [said])
