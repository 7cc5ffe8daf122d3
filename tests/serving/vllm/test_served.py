"""A server of vLLM's own: one key at its start, budgets over HTTP."""

import base64
import io
import json

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from serving.vllm import checkpoints, engine, process

pytestmark = pytest.mark.slow
FAMILY = "llava"
HALF_LETTER = "\ufffd"  # an answer may end within a letter's bytes, which vLLM then leaves out
QUARTER = {"method": "aim-merge", "keep": 0.25}


@pytest.fixture(scope="module")
def server(folder):
    """A client of a server with a budget for all requests, which lets clients ask for others."""
    arguments = ("--trust-request-mm-kwargs", "--hf-overrides", json.dumps({"foveate": QUARTER}))
    with process.running(*process.MODULE, "--model", str(folder), *arguments) as (client, _):
        yield client


def post(server, **more):
    """Status and body of an answer about a picture."""
    file = io.BytesIO()
    checkpoints.picture(1).save(file, "png")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "what is it?"},
    ]
    body = {
        "messages": [{"role": "user", "content": content}], "temperature": 0,
        "max_tokens": engine.TOKENS, "ignore_eos": True, **more,
    }  # fmt: skip
    status, _, text = server.ask(body)
    return status, json.loads(text)


def test_budgets_over_http(server, reference):
    prompt = "user: <image>what is it? assistant:"
    for more, meant in (
        ({}, QUARTER),
        ({"mm_processor_kwargs": {"foveate": {"method": "divprune", "keep": 0.5}}},
         {"method": "divprune", "keep": 0.5}),
        ({"mm_processor_kwargs": {"foveate": None}}, None),
    ):  # fmt: skip
        status, answer = post(server, **more)
        assert status == 200
        expected = reference.ask(
            {"prompt": prompt, "image": [checkpoints.picture(1)], "foveate": meant}
        )
        assert answer["usage"]["prompt_tokens"] == expected.prompt
        said = answer["choices"][0]["message"]["content"]
        whole = reference.processor.decode(expected.tokens, skip_special_tokens=True)
        assert said.rstrip(HALF_LETTER) == whole.rstrip(HALF_LETTER)


def test_what_cannot_be_served_is_a_bad_request_and_the_server_lives_on(server):
    for given, text in (
        ({"method": "fastv"}, "works: aim-merge"),
        ({"method": "divprune", "keep": 7}, "keep must be a share"),
        ("x", "takes a method as"),
    ):
        status, answer = post(server, mm_processor_kwargs={"foveate": given})
        assert status == 400
        assert text in answer["error"]["message"]
    assert post(server)[0] == 200
