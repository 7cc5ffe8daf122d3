"""LLaVA-NeXT in a real engine: base view, tiles and separators are groups of their own."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from serving.vllm import checkpoints, engine

FAMILY = "llava_next"
LOOK = "what is in <image>? "
METHODS = [
    None,
    {"method": "aim-merge", "keep": 0.25},
    {"method": "divprune", "keep": 0.5},
    {"method": "fovea-merge", "keep": 0.25},
    {"method": "pool", "keep": 0.5},
    {"method": "tome-encoder", "keep": 0.4},
    {"encode": {"method": "tome-encoder"}, "before": {"method": "divprune", "keep": 0.5}},
]


@pytest.mark.parametrize("size", [(112, 112), (112, 56), (200, 90)])
def test_pictures(llm, reference, size):
    requests = [
        {"prompt": LOOK, "image": [checkpoints.picture(1, size)], "foveate": foveate}
        for foveate in METHODS
    ]
    two = [checkpoints.picture(2, size), checkpoints.picture(3, (112, 112))]
    requests.append({"prompt": LOOK * 2, "image": two, "foveate": METHODS[1]})
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)
    assert engine.same(engine.ask(llm, *requests), expected)
