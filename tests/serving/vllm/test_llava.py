"""LLaVA-1.5 in a real engine: budgets by request, in one batch, and what caches share."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

FAMILY = "llava"
ENGINE = {"max_num_batched_tokens": 256}  # four pictures of 64 tokens
PROMPT = "what is in <image>? "
QUARTER = {"method": "aim-merge", "keep": 0.25}
HALF = {"method": "aim-merge", "keep": 0.5}
METHODS = [
    {"method": "divprune", "keep": 0.3},
    {"method": "fovea-merge", "keep": 0.25},
    {"method": "pool", "keep": 0.3},
    {"method": "random", "keep": 0.2},
    {"method": "stride", "keep": 0.2},
    {"method": "evs", "keep": 0.4},
    {"method": "vidcom2", "keep": 0.4},
    {"method": "aim", "keep": 0.25, "prune": None},
    {"method": "tome-encoder", "keep": 0.3},
    {"encode": {"method": "tome-encoder", "keep": 0.3}, "before": QUARTER},
]


def test_budgets_of_one_batch_do_not_mix(llm, reference):
    one, two = checkpoints.picture(1), checkpoints.picture(2)
    requests = [
        {"prompt": PROMPT, "image": [one]},
        {"prompt": PROMPT, "image": [one], "foveate": QUARTER},
        {"prompt": PROMPT, "image": [one], "foveate": HALF},
        {"prompt": PROMPT, "image": [two], "foveate": QUARTER},
        {"prompt": PROMPT * 2, "image": [one, two], "foveate": QUARTER},
    ]
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)  # answers tell budgets apart
    assert engine.same(engine.ask(llm, *requests), expected)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_method_is_as_in_transformers(llm, reference, method):
    request = {"prompt": PROMPT, "image": [checkpoints.picture(3)], "foveate": method}
    assert engine.same(engine.ask(llm, request), [reference.ask(request)])


def test_caches_share_what_is_the_same_and_nothing_else(llm, encoded):
    one = checkpoints.picture(11)
    quarter = {"prompt": PROMPT + "how many are there? " * 3, "image": [one], "foveate": QUARTER}
    first = engine.ask(llm, quarter)
    assert sum(encoded) == 1
    assert first[0].cached == 0
    # another way to write the same budget
    again = engine.ask(
        llm, {**quarter, "foveate": {"keep": 0.25, "method": "aim-merge", "weighted": False}}
    )
    assert sum(encoded) == 1
    assert again[0].cached == 32
    assert engine.same(again, first)
    engine.ask(llm, {**quarter, "prompt": "here " + quarter["prompt"]})
    assert sum(encoded) == 1, "another question does not encode the picture again"
    for other in (HALF, {"method": "aim-merge", "keep": 0.25, "weighted": True}, None):
        before = sum(encoded)
        said = engine.ask(llm, {**quarter, "foveate": other})
        assert sum(encoded) == before + 1, "a picture under another budget is another picture"
        assert said[0].cached == 0
    # off is off: shared with requests that say nothing
    engine.ask(llm, {"prompt": quarter["prompt"], "image": [one]})
    engine.ask(llm, {**quarter, "foveate": {"method": "divprune", "keep": 1.0}})
    assert sum(encoded) == 4


REFUSED = [
    ("x", InputError, "takes a method as"),
    (0.25, InputError, "takes a method as"),
    ({"keep": 0.25}, InputError, "a reduction is written"),
    ({"method": "nope"}, InputError, "unknown method 'nope'"),
    ({"method": "divprune", "keep": 2}, InputError, "keep must be a share"),
    ({"method": "divprune", "keeep": 0.5}, InputError, "cannot take"),
    ({"method": "aim", "keep": 0.25}, InputError, "prunes inside the LLM.*works: "),
    ({"method": "fastv"}, InputError, "prunes inside the LLM"),
    ({"method": "tome-encoder", "layer": 1}, InputError, "layer must be one of the 1 layers"),
    ({"method": "aim-merge", "at": "encoder"}, InputError, "before the projector"),
    ({"method": "aim-merge", "at": "encoder", "metric": "keys"}, InputError, "before the proj"),
    ({"method": "aim-merge", "size_aware": True}, InputError, "size_aware"),
    ({"method": "visionzip"}, InputError, "needs attention and keys"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "text"), REFUSED)
def test_what_cannot_be_served_is_refused_and_the_engine_lives_on(llm, given, error, text):
    request = {"prompt": PROMPT, "image": [checkpoints.picture(5)]}
    with pytest.raises(error, match=text):
        engine.ask(llm, {**request, "foveate": given})
    assert engine.ask(llm, request)[0].prompt > 64


def test_a_budget_in_the_wrong_place_is_refused(llm):
    nested = {"images_kwargs": {"foveate": QUARTER}}
    with pytest.raises(InputError, match="beside 'images_kwargs'"):
        llm.generate({"prompt": PROMPT, "multi_modal_data": {"image": [checkpoints.picture(5)]},
                      "mm_processor_kwargs": nested})  # fmt: skip


def test_no_more_pictures_are_encoded_at_once_than_memory_was_profiled_for(llm, encoded):
    few = {"method": "divprune", "keep": 1 / 16}
    pictures = [checkpoints.picture(100 + number) for number in range(8)]
    engine.ask(llm, *({"prompt": PROMPT, "image": [one], "foveate": few} for one in pictures))
    assert sum(encoded) == 8
    assert max(encoded) == 4, "vLLM's scheduler counts reduced tokens: it hands over all eight"


def test_a_method_may_read_the_question(llm, reference, encoded):
    request = {
        "prompt": PROMPT,
        "image": [checkpoints.picture(21)],
        "foveate": {"method": "cdpruner", "keep": 0.2},
    }
    other = {**request, "prompt": "is there a picture? <image>how many are there, and where? "}
    cases = [request, other]
    expected = [reference.ask(case) for case in cases]
    assert engine.same(engine.ask(llm, *cases), expected)
    assert sum(encoded) == 2, "a picture with another question is another picture"
    assert engine.same(engine.ask(llm, *cases), expected)
    assert sum(encoded) == 2
    # with no text behind the picture all of it is read
    assert engine.ask(llm, {**request, "prompt": "how many are there in <image>"})
    assert sum(encoded) == 3
    with pytest.raises(InputError, match="reads the question, but the prompt has no text"):
        engine.ask(llm, {**request, "prompt": "<image>"})
