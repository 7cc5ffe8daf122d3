"""An answer piece by piece: the same words, the same report, and a thread that is never left behind."""

import gc
import threading
import time
from functools import partial

import pytest
import torch

import foveate
from foveate.ask.stream import THREAD, Stream
from foveate.combine.aim import AIM
from foveate.errors import InputError, NoEffectError
from foveate.testing import fingerprint

QUESTION = "how many digits are there?"


@pytest.fixture(scope="module")
def vlm():
    return foveate.load("foveate-mini")


@pytest.fixture
def picture():
    return foveate.example("picture")


def running():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def alone():
    """Whether the threads of all streams have ended, soon."""
    deadline = time.monotonic() + 20
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running()


@pytest.mark.parametrize(
    "given", [{}, {"reduction": AIM(0.25)}, {"budget": "40%"}], ids=["off", "aim", "budget"]
)
@pytest.mark.parametrize("media", ["picture", "clip", "text"])
def test_it_says_what_ask_says(vlm, media, given):
    shown = foveate.example(media)
    answer = vlm.ask(shown, QUESTION, **given)
    stream = vlm.stream(shown, QUESTION, **given)
    assert "".join(stream).strip() == stream.text.strip() == answer.text
    assert stream.report.visual_tokens_by_layer == answer.report.visual_tokens_by_layer
    assert list(stream) == []
    assert alone()


def test_the_report_comes_with_the_first_piece(vlm, picture):
    with vlm.stream(picture, QUESTION, AIM(0.25)) as stream:
        with pytest.raises(NoEffectError, match="has not begun"):
            _ = stream.report
        next(stream)
        assert stream.report.fired


def test_its_reduction_holds_for_nobody_else(vlm, picture):
    before = fingerprint(vlm.model)
    stock = vlm.ask(picture, QUESTION)
    with vlm.stream(picture, QUESTION, AIM(0.25), max_new_tokens=64) as stream:
        next(stream)
        beside = vlm.ask(picture, QUESTION)  # a reduce() of its own
        assert beside.text == stock.text
        assert not beside.report.fired
    assert fingerprint(vlm.model) == before


@pytest.mark.parametrize("end", ["close", "forget"])
def test_closing_or_forgetting_it_ends_the_generation(vlm, end):
    words = vlm.processor.tokenizer("one two three ", return_tensors="pt")["input_ids"]

    def endless(streamer, stopping_criteria):
        streamer.put(words)  # the prompt, which is skipped
        while not stopping_criteria(words, None).all():
            streamer.put(words)
            time.sleep(0.001)

    reduced = partial(foveate.reduce, vlm.model, AIM(0.25))
    stream = Stream(endless, reduced, vlm.processor.tokenizer, vlm.model.device)
    assert next(stream)
    if end == "close":
        stream.close()
        assert list(stream) == []
    del stream
    gc.collect()
    assert alone()


def test_errors_are_the_reader_s(vlm, picture):
    with pytest.raises(InputError, match="empty"):
        vlm.stream(picture, " ")
    with pytest.raises(InputError, match="layers"):
        list(vlm.stream(picture, QUESTION, AIM(0.25, (14, 22))))
    assert alone()


def test_a_stream_that_nobody_reads_starts_nothing(vlm, picture):
    stream = vlm.stream(picture, QUESTION)
    assert not running()
    stream.close()
    assert list(stream) == []


def test_it_computes_under_the_reader_s_autocast(vlm, picture):
    seen = []
    handle = vlm.model.lm_head.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        asked = vlm.ask(picture, QUESTION, AIM(0.25)).text
        streamed = "".join(vlm.stream(picture, QUESTION, AIM(0.25))).strip()
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert streamed == asked
