"""`Guard` and `Budget` in front of a real vLLM, as the guide stacks them, and what strangers send."""

import gc
import json
import random
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

from foveate.serving.field import CHAT, PREFIX
from serving import hostile
from serving.vllm import checkpoints, engine, process

pytestmark = pytest.mark.slow
FAMILY = "llava"
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serving.md"
LIMITS = replace(hostile.SMALL, allow_urls=1, max_requests=12, max_seconds=1)
HEADER = "x-foveate-budget"
# vLLM, where one name of another machine leads to this one: no other may
LOOK_UP = """
import runpy
from foveate.serving.guard import fetching
known = fetching.public_address
def look_up(host, port):
    return "127.0.0.1" if host == "pictures.invalid" else known(host, port)
fetching.public_address = look_up
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
"""
# budgets that clients ask for, and what they are told; "nothing" leaves it to the target
BUDGETS = {
    "nothing": ({}, "0.125; method=aim-merge; by=target; held=no"),
    "all": ({"mm_processor_kwargs": {"foveate": None}}, "1; by=client; held=no"),
    "quarter": (
        {"mm_processor_kwargs": {"foveate": {"method": "aim-merge", "keep": 0.25}}},
        "0.25; method=aim-merge; by=client; held=no",
    ),
    "half": (
        {"mm_processor_kwargs": {"foveate": {"method": "divprune", "keep": 0.5}}},
        "0.5; method=divprune; by=client; held=no",
    ),
}


@pytest.fixture(scope="module")
def server(folder):
    """(a client, the number of its process); the target is one that nothing meets."""
    stacked = re.findall(r"--middleware foveate\S+", GUIDE.read_text().split("Both at once")[1])
    variables = {PREFIX + name.upper(): str(value) for name, value in asdict(LIMITS).items()}
    target = {"TTFT_MS": "0.001", "MODEL": str(folder), "LADDER": "1,0.125"}
    variables |= {PREFIX + name: value for name, value in target.items()}
    arguments = [word for one in stacked[:2] for word in one.split()]
    with process.running(
        sys.executable, "-c", LOOK_UP, "--model", str(folder), "--hf-overrides", '{"foveate": {}}',
        "--trust-request-mm-kwargs", "--max-num-seqs", "8", *arguments, **variables,
    ) as found:  # fmt: skip
        yield found


@pytest.fixture
def client(server):
    yield server[0]
    assert server[0].send("GET", "/health")[0] == 200


def pictured(number, **more):
    """A chat about a picture, whose answer is the same every time."""
    picture = checkpoints.picture(number)
    body = hostile.shown(hostile.encoded(hostile.saved(picture)), **more)
    return {**body, "temperature": 0, "max_tokens": engine.TOKENS, "ignore_eos": True}


def refused(client, body, path=CHAT):
    """The sentence of a 4xx answer."""
    status, _, text = client.ask(body, path)
    assert 400 <= status < 500, text
    sentence = json.loads(text)["error"]["message"]
    assert "\n" not in sentence
    return sentence


# where URLs are allowed, these are looked up like others
OF_STRANGERS = {
    name: row for name, row in hostile.REFUSED.items() if not name.startswith("an http URL")
}


@pytest.mark.parametrize("name", {**OF_STRANGERS, **hostile.RAW})
def test_what_the_guard_refuses_over_http(client, name):
    body, says = {**OF_STRANGERS, **hostile.RAW}[name]
    assert says in refused(client, body)


@pytest.mark.parametrize("host", hostile.PRIVATE)
def test_addresses_inside_are_not_asked(client, host):
    sentence = refused(client, hostile.shown(f"http://{host}:{client.port}/health"))
    assert "is not public" in sentence or "cannot find the host" in sentence


def test_what_is_behind_urls(client):
    with hostile.hostile_server() as (port, asked):
        there = f"http://pictures.invalid:{port}"
        for path, says in hostile.BEHIND.items():
            sentence = refused(client, hostile.shown(f"{there}{path}"))
            assert any(part in sentence for part in says.split("|"))
        for url in hostile.NO_URLS:
            assert "a URL must be" in refused(client, hostile.shown(url))
        fine = {"temperature": 0, "max_tokens": 4}
        found = client.text(hostile.shown(f"{there}/good.png", **fine))
        assert found == client.text(hostile.shown(hostile.URL, **fine))
    assert "/inside" not in asked


def test_a_body_too_long_and_one_that_never_ends(client):
    status, _, text = client.ask(b"x" * (LIMITS.max_body_bytes + 1))
    assert (status, "more than 800,000 bytes" in text) == (413, True)
    with socket.create_connection(("127.0.0.1", client.port)) as line:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        line.sendall(f"{head}content-length: 99\r\n\r\n{{".encode())
        assert b"408" in line.recv(99)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/tokenize", "/pause"])
def test_other_routes_are_shut(client, path):
    assert "is answered at" in refused(client, {"prompt": "x"}, path)


def test_what_vllm_itself_refuses_tells_the_budget(client):
    for more, says in (
        ({"model": "another"}, "another"),
        ({"mm_processor_kwargs": {"foveate": {"method": "fastv"}}}, "works: aim-merge"),
    ):
        status, headers, text = client.ask(pictured(1, **more))
        assert 400 <= status < 500
        assert says in text
        assert "held=" in headers[HEADER]


def test_clients_that_hang_up_leave_nothing_behind(client):
    body = json.dumps(pictured(1, max_tokens=900, stream=True)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    for number in range(3 * LIMITS.max_requests):
        with socket.create_connection(("127.0.0.1", client.port)) as line:
            line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
            line.sendall(body[: len(body) // 2] if number % 2 else body)
            if number % 4 == 0:
                assert b"200" in line.recv(20)
    end = time.monotonic() + 60
    while running(client) and time.monotonic() < end:
        time.sleep(0.2)
    assert running(client) == 0
    assert client.text(pictured(1))[0]


def running(client):
    """How many requests vLLM has in hand."""
    text = client.send("GET", "/metrics")[2]
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.M)
    return sum(map(float, found))


def test_malformed_fields_at_any_depth(client):
    whole = hostile.FULL_CHAT | {"tool_choice": "none"}  # others need a parser, by the command line
    status, _, text = client.ask(whole)
    assert status == 200, text
    for body in hostile.changed(whole):
        status, _, text = client.ask(body)
        assert status < 500, (body, text)


def test_200_requests_are_never_mixed_up(client):
    wanted = {
        (number, name): client.text(pictured(number, **more), HEADER)
        for number in range(4)
        for name, (more, _) in BUDGETS.items()
    }
    told = {(name, header) for (_, name), (_, header) in wanted.items()}
    assert told == {(name, header) for name, (_, header) in BUDGETS.items()}
    assert len({text for text, _ in wanted.values()}) > len(wanted) // 2  # they can be told apart
    draw, bad = random.Random(0), [*OF_STRANGERS.values(), *hostile.RAW.values()]

    def one(number):
        if number % 3 == 0:
            body, says = draw.choice(bad)
            assert says in refused(client, body)
        else:
            key = draw.choice(list(wanted))
            body = pictured(key[0], stream=draw.random() < 0.5, **BUDGETS[key[1]][0])
            assert client.text(body, HEADER) == wanted[key]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))


def test_memory_stays_flat(server, client):
    bodies = [body for body, _ in [*OF_STRANGERS.values(), *hostile.RAW.values()]]
    found = []
    for _ in range(4):
        with ThreadPoolExecutor(8) as pool:
            assert all(400 <= row[0] < 500 for row in pool.map(client.ask, bodies))
        gc.collect()
        found.append(process.memory(server[1]))
    assert found[-1] - found[0] < 30 * 2**20
