"""QueCC by the LLM's hidden state: embeddings made outside, in transformers, and handed to an engine."""

import base64
import io
import math
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

import foveate
from foveate.errors import InputError
from foveate.serving.embeddings import picture_embeddings
from serving.vllm import checkpoints, engine

pytestmark = pytest.mark.slow
FAMILY = "compressed_llm"
ENGINE = {"hf_overrides": {}, "enable_mm_embeds": True}
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serving.md"


@pytest.fixture(scope="module")
def vlm(folder):
    """The engine's checkpoint, in transformers."""
    return foveate.load(str(folder), dtype=torch.float32)


def in_transformers(vlm, picture, question):
    """The prompt of a question, and the greedy answer."""
    inputs = vlm.inputs(picture, question)
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        out = vlm.model.generate(
            **inputs, max_new_tokens=engine.TOKENS, min_new_tokens=engine.TOKENS, do_sample=False
        )
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = vlm.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return str(prompt), engine.Said(tuple(out[0, length:].tolist()), length)


def test_what_is_sent_is_answered_as_in_transformers(llm, vlm):
    questions = ("what colour is it?", "how many are there, and where?")
    requests, said = [], []
    for picture in (checkpoints.picture(3), checkpoints.picture(4, (112, 56))):
        for question in questions:
            prompt, answer = in_transformers(vlm, picture, question)
            (made,) = picture_embeddings(vlm, picture, question)
            requests.append({"prompt": prompt, "image": made[None]})
            said.append(answer)
    assert len({each.tokens for each in said}) == len(said)  # the question matters
    assert engine.same(engine.ask(llm, *requests), said)


def test_the_guides_example(llm, vlm, folder, capsys):
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    (code,) = (block for block in blocks if "picture_embeddings" in block)
    assert "foveate-mini" in code
    names = {}
    exec(code.replace("foveate-mini", str(folder)), names)
    assert "image_embeds" in capsys.readouterr().out
    prompt, answer = in_transformers(vlm, foveate.example(), names["question"])
    sent = base64.b64decode(names["part"]["image_embeds"])
    for tokens in (names["tokens"], torch.load(io.BytesIO(sent), weights_only=True)):
        assert engine.same(engine.ask(llm, {"prompt": prompt, "image": tokens[None]}), [answer])


def test_a_picture_is_refused_and_the_engine_lives_on(llm, vlm):
    picture, question = checkpoints.picture(5), "what is it?"
    prompt, answer = in_transformers(vlm, picture, question)
    for asked in ({}, {"foveate": {"question": question}}):
        with pytest.raises(InputError, match=r"hidden state .* make image embeddings outside"):
            engine.ask(llm, {"prompt": prompt, "image": [picture], **asked})
    (made,) = picture_embeddings(vlm, picture, question)
    assert engine.same(engine.ask(llm, {"prompt": prompt, "image": made[None]}), [answer])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_refused_before_it_is_cached(llm, vlm, number):
    picture, question = checkpoints.picture(6), "what is it?"
    prompt, answer = in_transformers(vlm, picture, question)
    (made,) = picture_embeddings(vlm, picture, question)
    spoilt = made.clone()
    spoilt[-1, 0] = number
    for sent in (spoilt[None], [made, spoilt]):
        request = {"prompt": prompt.replace("<image>", "<image>" * len(sent)), "image": sent}
        with pytest.raises(InputError, match="image embeddings must be finite numbers"):
            engine.ask(llm, request)
    assert engine.same(engine.ask(llm, {"prompt": prompt, "image": made[None]}), [answer])
