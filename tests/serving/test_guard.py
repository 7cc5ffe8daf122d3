"""`Guard` in front of an application that writes down what it is shown."""

import asyncio
import gc
import json
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from foveate.errors import InputError
from foveate.serving.asgi import refuse
from foveate.serving.field import CHAT, RESPONSES
from foveate.serving.guard import Guard, fetching
from foveate.serving.guard.limits import Limits
from serving.hostile import (
    BEHIND,
    NO_URLS,
    PNG,
    PRIVATE,
    RAW,
    REFUSED,
    SMALL,
    URL,
    clip,
    drawn,
    encoded,
    hostile_server,
    shown,
    video,
)

JSON = (b"content-type", b"application/json; charset=utf-8")


class Behind:
    """The application behind a guard."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            self.seen.append("lifespan")
            return
        message = await receive() if scope["method"] == "POST" else {"body": b"null"}
        assert not message.get("more_body")
        self.seen.append(json.loads(message["body"]))
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        assert lengths in ([], [str(len(message["body"])).encode()])
        await refuse(send, 200, "fine")


async def answer(guard, messages, path=CHAT, method="POST", headers=(JSON,), kind="http", **more):
    """What a client gets: (status, sentence), None if nothing was sent."""
    sent, left = [], list(messages)

    async def receive():
        return left.pop(0) if left else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": method, "path": path, "headers": list(headers), **more}
    await guard(scope, receive, send)
    if not sent or "status" not in sent[0]:
        return sent or None
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]["message"]


def whole(body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [{"type": "http.request", "body": data, "more_body": False}]


def tried(body, limits=SMALL, **more):
    """(what a client gets, what the application was shown)."""
    behind = Behind()
    given = asyncio.run(answer(Guard(behind, limits), whole(body), **more))
    return given, behind.seen


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_pictures_pass_and_say_what_they_are(format):
    data = drawn(format)
    given, (seen,) = tried(shown(encoded(data, "image/x-what")))
    assert given == (200, "fine")
    assert seen == shown(encoded(data, f"image/{format.lower()}"))


@pytest.mark.parametrize(("format", "codec"), [("mp4", "mpeg4"), ("webm", "vp9")])
def test_clips_pass(format, codec):
    data = clip(format=format, codec=codec)
    given, (seen,) = tried(video(encoded(data, "video/anything")))
    assert given == (200, "fine")
    assert seen == video(encoded(data, f"video/{format}"))


FINE = [
    (CHAT, {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5}),
    (CHAT, {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}),
    (CHAT, shown(mm_processor_kwargs={"foveate": {"method": "aim", "keep": 0.5}})),
    (CHAT, shown(mm_processor_kwargs={"foveate": {"budget": "25%", "task": "ocr"}})),
    (CHAT, shown(mm_processor_kwargs={"foveate": None}, max_tokens=7, stream=True)),
    (CHAT, shown(mm_processor_kwargs={})),
    (CHAT, shown(mm_processor_kwargs=None, max_tokens=None, chat_template_kwargs=None)),
    (CHAT, shown(chat_template_kwargs={"enable_thinking": False})),
    (RESPONSES, {"input": "hello", "max_output_tokens": 8}),
    (RESPONSES, {"input": [{"type": "input_text", "text": "hello"}]}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}),
    (
        RESPONSES,
        {"input": [{"type": "function_call_output", "call_id": "1", "output": "it is 5"}]},
    ),
]


@pytest.mark.parametrize(("path", "body"), FINE)
def test_what_is_fine_passes_unchanged(path, body):
    given, seen = tried(body, path=path)
    assert given == (200, "fine")
    assert seen == [body]


THOUGHT = {"type": "reasoning", "content": "x"}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({**CALL, "call_id": 1}, "needs call_id as a text"),
        ({**CALL, "name": None}, "needs name as a text"),
        ({**CALL, "arguments": "x"}, "the text of a JSON object"),
        ({**CALL, "arguments": "[" * 100_000, "output": "5"}, "the text of a JSON object"),
        ({"type": "function_call_output", "call_id": "1"}, "needs an output"),
        (THOUGHT, "must be a list of parts"),
        ({"type": ["reasoning"]}, "has a type of"),
    ],
)
def test_what_stands_between_the_messages_of_responses(item, says):
    given, seen = tried({"input": [item]}, path=RESPONSES)
    assert given[0] == 400
    assert says in given[1]
    assert seen == []


def test_pictures_of_responses_and_plain_urls_are_looked_at_too():
    good, part = encoded(drawn()), {"type": "input_image", "image_url": ""}
    for place in (
        [{**part, "image_url": good, "detail": "low"}],
        [{"role": "user", "content": [{**part, "image_url": good}]}],
        [{"type": "function_call_output", "call_id": "1", "output": [{**part, "image_url": good}]}],
    ):
        assert tried({"input": place}, path=RESPONSES)[0] == (200, "fine")
        bad = json.loads(json.dumps({"input": place}).replace(good, "/etc/passwd"))
        assert tried(bad, path=RESPONSES)[0][0] == 400
    flat = {"messages": [{"role": "user", "content": [{**part, "type": "image_url"}]}]}
    assert tried(flat)[0][0] == 400


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_one_sentence_and_never_shown(name, untyped):
    body, says = REFUSED[name]
    (status, sentence), seen = tried(body)
    assert status == 400
    assert says in sentence
    assert "\n" not in sentence
    assert len(sentence) < 800
    assert seen == []


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_request(name):
    body, says = RAW[name]
    given, seen = tried(body)
    assert given[0] == 400
    assert says in given[1]
    assert seen == []


def test_a_body_of_too_many_bytes_is_refused_while_it_streams_in():
    taken = []

    async def receive():
        taken.append(1)
        return {"type": "http.request", "body": b"x" * 200_000, "more_body": True}

    async def main():
        behind, sent = Behind(), []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [JSON]}
        await Guard(behind, SMALL)(scope, receive, send)
        return sent[0]["status"], behind.seen

    assert asyncio.run(main()) == (413, [])
    assert len(taken) == 5


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"path": "/v1/embeddings"}, 404),
        ({"path": "/v1/chat/completions/"}, 404),
        ({"path": "/reset"}, 404),
        ({"method": "PUT", "path": "/x"}, 404),
        ({"headers": [(b"content-type", b"text/plain")]}, 415),
        ({"headers": []}, 415),
        ({"headers": [JSON, (b"content-length", b"999999")]}, 413),
    ],
)
def test_other_ways_in(more, status):
    given, seen = tried(shown(), **more)
    assert given[0] == status
    assert seen == []


def test_what_only_reads_passes_and_a_prefix_is_no_other_path():
    assert tried({}, method="GET", path="/health") == ((200, "fine"), [None])
    assert tried(shown(), path=f"/api{CHAT}", root_path="/api")[0] == (200, "fine")
    assert tried({}, kind="lifespan", method=None) == (None, ["lifespan"])
    (closed,), seen = tried({}, kind="websocket", method=None)
    assert (closed["type"], seen) == ("websocket.close", [])


def test_a_client_that_hangs_up_is_forgotten():
    behind = Behind()
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]
    gone = [*messages, {"type": "http.disconnect"}]
    guard = Guard(behind, Limits(max_requests=1))
    assert asyncio.run(answer(guard, gone)) is None
    assert behind.seen == []
    assert asyncio.run(answer(guard, whole(shown()))) == (200, "fine")  # it holds no place


def test_a_body_that_does_not_come():
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]
    guard = Guard(Behind(), Limits(max_seconds=1))
    status, sentence = asyncio.run(answer(guard, messages))
    assert (status, sentence) == (408, "the body did not come within 1 seconds")


def test_more_requests_than_allowed_are_sent_away_and_places_are_given_back():
    async def main():
        first, release = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            first.set()
            await release.wait()
            await refuse(send, 200, "fine")

        guard = Guard(slow, Limits(max_requests=1))
        under_way = asyncio.create_task(answer(guard, whole(shown())))
        await first.wait()
        sent_away = await answer(guard, whole(shown()))
        release.set()
        return await under_way, sent_away, await answer(guard, whole(shown()))

    first, second, third = asyncio.run(main())
    assert first == third == (200, "fine")
    assert second == (503, "1 requests are under way, the most allowed here")


def test_decoding_blocks_no_other_request(monkeypatch):
    """With every thread that decodes stuck, texts pass."""
    stuck, release = threading.Semaphore(0), threading.Event()

    def slow(media, limits):
        stuck.release()
        assert release.wait(20)

    monkeypatch.setattr("foveate.serving.guard.check_media", slow)

    async def main():
        guard = Guard(Behind(), SMALL)
        pictures = [asyncio.create_task(answer(guard, whole(shown(URL)))) for _ in range(3)]
        await asyncio.to_thread(stuck.acquire)
        await asyncio.to_thread(stuck.acquire)
        text = await asyncio.wait_for(answer(guard, whole(shown())), 10)
        waiting = [task.done() for task in pictures]
        release.set()
        return text, waiting, await asyncio.gather(*pictures)

    text, waiting, pictures = asyncio.run(main())
    assert text == (200, "fine")
    assert waiting == [False] * 3
    assert pictures == [(200, "fine")] * 3


def test_slow_urls_block_no_other_request(monkeypatch):
    """However few threads the server has for itself."""
    release = threading.Event()

    def slow(url, most, seconds):
        assert release.wait(20)
        return PNG

    monkeypatch.setattr("foveate.serving.guard.fetched", slow)

    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        guard = Guard(Behind(), Limits(allow_urls=1))
        asked = shown("http://pictures.invalid/a.png")
        fetching = [asyncio.create_task(answer(guard, whole(asked))) for _ in range(3)]
        await asyncio.sleep(0.2)
        try:
            text = await asyncio.wait_for(answer(guard, whole(shown())), 10)
        finally:
            release.set()
        return text, await asyncio.gather(*fetching)

    assert asyncio.run(main()) == ((200, "fine"), [(200, "fine")] * 3)


def test_no_url_is_looked_up_when_the_time_is_over(monkeypatch):
    looked_up = []

    def slow(url, most, seconds):
        looked_up.append(url)
        time.sleep(1.1)  # a name that is hard to find
        return PNG

    monkeypatch.setattr("foveate.serving.guard.fetched", slow)
    given, seen = tried(shown("http://a.invalid/", "http://b.invalid/"), ALLOWED)
    assert given[0] == 400
    assert "the URLs took too long; no time is left for 'http://b.invalid/'" in given[1]
    assert (looked_up, seen) == (["http://a.invalid/"], [])


def test_limits_of_the_environment(monkeypatch):
    monkeypatch.setenv("FOVEATE_MAX_MEDIA", "1")
    monkeypatch.setenv("FOVEATE_ALLOW_URLS", "1")
    assert Guard(Behind()).limits == Limits(max_media=1, allow_urls=1)
    for name, value in [("MAX_MEDIA", "many"), ("MAX_MEDIA", "0"), ("ALLOW_URLS", "2")]:
        with monkeypatch.context() as inner:
            inner.setenv(f"FOVEATE_{name}", value)
            with pytest.raises(InputError, match="got"):
                Limits.from_environment()
            with pytest.raises(InputError, match=f"{name.lower()}|{name}"):
                tried(shown(), None)


@pytest.mark.parametrize("host", PRIVATE)
def test_addresses_that_are_not_public(host):
    given, seen = tried(shown(f"http://{host}:9/a.png"), Limits(allow_urls=1))
    assert given[0] == 400
    assert "is not public" in given[1] or "cannot find the host" in given[1]
    assert seen == []


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    entries = [(0, 0, 0, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    given, _ = tried(shown("http://two.example/a.png"), Limits(allow_urls=1))
    assert given[0] == 400
    assert "'two.example' is not public" in given[1]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries[:1])
    assert fetching.public_address("two.example", 80) == "93.184.216.34"


@pytest.mark.parametrize("url", NO_URLS)
def test_urls_that_are_none(url):
    given, _ = tried(shown(url), Limits(allow_urls=1))
    assert given[0] == 400
    assert "a URL must be http(s)://HOST/PATH" in given[1]


@pytest.fixture
def elsewhere(monkeypatch):
    """The address of a server, whose name nobody but the guard's first look-up knows."""
    monkeypatch.setattr(fetching, "public_address", lambda host, port: "127.0.0.1")
    with hostile_server() as (port, asked):
        yield f"http://pictures.invalid:{port}"
        assert "/inside" not in asked  # where it redirects to


ALLOWED = Limits(max_body_bytes=200_000, allow_urls=1, max_seconds=1)


def test_a_picture_behind_a_url_is_fetched_here_from_the_address_that_was_looked_at(elsewhere):
    given, (seen,) = tried(shown(f"{elsewhere}/good.png?size=1", URL), ALLOWED)
    assert given == (200, "fine")
    assert seen == shown(URL, URL)  # the server behind sees no URL


@pytest.mark.parametrize("path", BEHIND)
def test_what_is_behind_a_url_is_not_trusted(elsewhere, path):
    began = time.monotonic()
    given, seen = tried(shown(f"{elsewhere}{path}"), ALLOWED)
    assert given[0] == 400
    assert any(part in given[1] for part in BEHIND[path].split("|"))
    assert seen == []
    assert time.monotonic() - began < 5


def test_memory_stays_flat_under_hostile_requests(untyped):
    """What 400 refused requests leave behind is less than one of them brought."""
    guard = Guard(Behind(), Limits(max_body_bytes=400_000))
    large = encoded(drawn(size=(300, 200))[:-100])  # 240,000 bytes of base64, cut short
    bodies = [body for body, _ in REFUSED.values()] + [shown(large), b"x" * 500_000, b"[" * 300_000]
    fine = shown(encoded(drawn(size=(300, 200))))

    async def rounds(count):
        for number in range(count):
            body = bodies[number % len(bodies)]
            status, _ = await answer(guard, whole(body))
            assert status in (200, 400, 413)
            assert await answer(guard, whole(fine)) == (200, "fine")
            guard.app.seen.clear()

    asyncio.run(rounds(len(bodies)))  # caches fill
    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run(rounds(400))
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 200_000
