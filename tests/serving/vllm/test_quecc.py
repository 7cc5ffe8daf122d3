"""QueCC by the question's embeddings in a real engine: a checkpoint as `foveate train` writes it."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

FAMILY = "compressed"
ENGINE = {"hf_overrides": {}}  # the checkpoint says it all
LOOK, WATCH = "what is in <image>? ", "how many are in <video>? "
COLOUR, COUNT = "what colour is it?", "how many are there, and where?"


def about(question, prompt=LOOK, **media):
    """A request with its question."""
    return {"prompt": prompt, **media, "foveate": {"question": question}}


def expected(reference, request):
    """The greedy answer of transformers, with the same compressor and question."""
    media = {f"{kind}s": request[kind] for kind in ("image", "video") if kind in request}
    inputs = reference.processor(
        text=request["prompt"],
        question=request["foveate"]["question"],
        return_tensors="pt",
        **media,
    )
    return engine.greedy(reference.model, inputs)


def test_tokens_are_those_of_transformers(llm, reference):
    one, wide = checkpoints.picture(3), checkpoints.picture(2, (112, 56))
    requests = [
        about(COLOUR, image=[one]),
        about(COUNT, image=[one]),
        about(COLOUR, image=[wide]),
        about(COUNT, LOOK * 2, image=[one, wide]),
        about(COLOUR, WATCH, video=[checkpoints.clip(1, 3)]),
        about(COUNT, WATCH, video=[checkpoints.clip(1, 3)]),
        about(COUNT, LOOK + WATCH, image=[wide], video=[checkpoints.clip(2, 2)]),
    ]
    said = [expected(reference, request) for request in requests]
    assert len({each.tokens for each in said}) == len(said)  # the question matters
    assert engine.same(engine.ask(llm, *requests), said)


def test_a_picture_is_shared_by_requests_of_one_question_alone(llm, encoded):
    request = about(COLOUR, LOOK + "how many are there? " * 4, image=[checkpoints.picture(7)])
    first = engine.ask(llm, request)
    shown = sum(encoded)
    assert shown
    assert first[0].cached == 0
    again = engine.ask(llm, request)
    assert sum(encoded) == shown, "the same question: nothing is encoded"
    assert again[0].cached == first[0].prompt // 32 * 32
    assert engine.same(again, first)
    other = engine.ask(llm, {**request, "foveate": {"question": COUNT}})
    assert sum(encoded) == 2 * shown, "another question: another picture"
    assert other[0].cached == 0
    assert other[0].prompt == first[0].prompt
    assert other[0].tokens != first[0].tokens


def test_the_question_is_found_in_a_chat(llm, reference, encoded):
    picture = checkpoints.picture(9)
    for talk in (
        [("user", COLOUR)],
        [("user", "what is it?"), ("assistant", "a 7"), ("user", COUNT)],
    ):
        conversation = [
            {"role": role, "content": [{"type": "text", "text": text}]} for role, text in talk
        ]
        conversation[0]["content"].insert(0, {"type": "image"})
        prompt = reference.processor.apply_chat_template(conversation, add_generation_prompt=True)
        assert prompt.question == talk[-1][1]
        known = about(talk[-1][1], str(prompt), image=[picture])
        found = {"prompt": str(prompt), "image": [picture]}
        said = [expected(reference, known)]
        assert engine.same(engine.ask(llm, found), said)
        before = sum(encoded)
        assert engine.same(engine.ask(llm, known), said)
        assert sum(encoded) == before, "found or said, it is the same question"


REFUSED = [
    ({}, "looks at the question, which is not found"),
    (None, "looks at the question, which is not found"),
    ({"question": " "}, "not empty"),
    ({"question": 7}, "not empty"),
    ({"question": COLOUR, "visual_tokens": 9}, "visual_tokens must be one of 4, got 9"),
    ({"method": "quecc"}, "compressor of its own: foveate takes question and visual_tokens alone"),
    ({"method": "divprune", "keep": 0.5}, "compressor of its own"),
    ({"question": COLOUR, "compressor": "/etc/passwd"}, "compressor of its own"),
    ("/etc/passwd", "compressor of its own"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_nothing_else_may_be_asked_for_and_the_engine_lives_on(llm, given, text):
    request = about(COLOUR, image=[checkpoints.picture(5)])
    with pytest.raises(InputError, match=text):
        engine.ask(llm, {**request, "foveate": given})
    assert engine.ask(llm, request)[0].prompt


def test_text_alone_needs_no_question(llm):
    assert engine.ask(llm, {"prompt": "hello there"})
