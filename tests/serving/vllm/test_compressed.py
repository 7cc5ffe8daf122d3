"""MQT in a real engine: as many tokens a view as a request asks for, whatever its question."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

pytestmark = pytest.mark.slow
FAMILY = "compressed_mqt"
ENGINE = {"hf_overrides": {"foveate": {"visual_tokens": 6}}, "max_num_batched_tokens": 128}
LOOK, WATCH = "what is in <image>? ", "how many are in <video>? "


def expected(reference, request, tokens):
    """The greedy answer of transformers with so many tokens a view."""
    media = {f"{kind}s": request[kind] for kind in ("image", "video") if kind in request}
    inputs = reference.processor(
        text=request["prompt"], visual_tokens=tokens, return_tensors="pt", **media
    )
    return engine.greedy(reference.model, inputs)


def test_each_request_of_a_batch_has_as_many_tokens_as_it_asks_for(llm, reference):
    one, wide = checkpoints.picture(1), checkpoints.picture(2, (112, 56))
    requests, said = [], []
    for media in (
        {"prompt": LOOK, "image": [one]},
        {"prompt": LOOK * 2, "image": [one, wide]},
        {"prompt": WATCH, "video": [checkpoints.clip(1, 3)]},
    ):
        for asked, tokens in ((None, 6), ({}, 6), ({"visual_tokens": 2}, 2)):
            requests.append({**media, "foveate": asked})
            said.append(expected(reference, media, tokens))
        requests.append(media)
        said.append(expected(reference, media, 6))
    assert len({each.tokens for each in said}) == 6
    assert engine.same(engine.ask(llm, *requests), said)


def test_the_same_picture_is_encoded_once_whatever_is_asked(llm, encoded):
    request = {"prompt": LOOK, "image": [checkpoints.picture(7)]}
    engine.ask(llm, request, {**request, "prompt": "another question about <image>"})
    assert encoded == [1]
    engine.ask(llm, {**request, "foveate": {"visual_tokens": 6}})
    assert encoded == [1]
    engine.ask(llm, {**request, "foveate": {"visual_tokens": 5}})
    assert encoded == [1, 1]


def test_no_more_views_are_encoded_at_once_than_memory_was_profiled_for(llm, encoded):
    few = {"visual_tokens": 1}
    pictures = [checkpoints.picture(100 + number) for number in range(12)]
    requests = [{"prompt": LOOK, "image": [one], "foveate": few} for one in pictures]
    engine.ask(llm, *requests)
    assert sum(encoded) == 12
    assert max(encoded) == 128 // 16, "of 16 patches each"


def test_no_more_tokens_than_the_engine_allows_nor_a_method(llm):
    request = {"prompt": LOOK, "image": [checkpoints.picture(5)]}
    for given in ({"visual_tokens": 7}, {"method": "divprune", "keep": 0.5}):
        with pytest.raises(InputError):
            engine.ask(llm, {**request, "foveate": given})
    assert engine.ask(llm, request)[0].prompt
