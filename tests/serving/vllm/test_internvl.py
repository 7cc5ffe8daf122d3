"""InternVL in a real engine: tiles, and clips with text between their frames."""

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.errors import InputError
from serving.vllm import checkpoints, engine

FAMILY = "internvl"
LOOK, WATCH = "what is in <IMG_CONTEXT>? ", "how many are in <video>? "
QUARTER = {"method": "aim-merge", "keep": 0.25}
HALF = {"method": "aim-merge", "keep": 0.5}


def check(llm, reference, *requests):
    expected = [reference.ask(request) for request in requests]
    assert len({said.tokens for said in expected}) == len(expected)
    assert engine.same(engine.ask(llm, *requests), expected)


@pytest.mark.parametrize("size", [(112, 112), (112, 56)])
def test_pictures(llm, reference, size):
    two = [checkpoints.picture(2, size), checkpoints.picture(3, (56, 56))]
    check(
        llm,
        reference,
        *(
            {"prompt": LOOK, "image": [checkpoints.picture(1, size)], "foveate": foveate}
            for foveate in (None, QUARTER, HALF, {"method": "fovea-merge", "keep": 0.3})
        ),
        {"prompt": LOOK * 2, "image": two, "foveate": HALF},
    )


def test_clips(llm, reference):
    check(
        llm,
        reference,
        *(
            {"prompt": WATCH, "video": [checkpoints.clip(1, 4)], "foveate": foveate}
            for foveate in (None, QUARTER, HALF)
        ),
    )


def test_what_shares_a_budget_among_frames_is_refused_for_clips(llm):
    request = {"prompt": WATCH, "video": [checkpoints.clip(2, 4)]}
    with pytest.raises(InputError, match="text between the frames"):
        engine.ask(llm, {**request, "foveate": {"method": "vidcom2", "keep": 0.5}})
    assert engine.ask(llm, request)


def test_a_question_is_not_read_where_the_model_writes_behind_a_picture(llm):
    request = {"prompt": LOOK, "image": [checkpoints.picture(4)]}
    with pytest.raises(InputError, match="writes some there by itself"):
        engine.ask(llm, {**request, "foveate": {"method": "cdpruner", "keep": 0.5}})
    assert engine.ask(llm, request)
