"""`Guard` in front of an application that writes down what it is shown."""

import asyncio
import base64
import gc
import json
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import av
import numpy as np
import pytest
from PIL import Image

from foveate.errors import InputError
from foveate.serving.asgi import refuse
from foveate.serving.guard import Guard, fetching
from foveate.serving.guard.limits import Limits

JSON = (b"content-type", b"application/json; charset=utf-8")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SMALL = Limits(max_body_bytes=200_000, max_media=3, max_pixels=300_000, max_video_bytes=20_000)


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


def encoded(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def drawn(format="PNG", size=(40, 30), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, format, **options)
    return file.getvalue()


def blank(*size):
    file = BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return encoded(file.getvalue())


def clip(frames=8, side=32, format="mp4", codec="mpeg4"):
    file = BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = side
        for number in range(frames):
            pixels = np.full((side, side, 3), number * 8, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def shown(*urls, **more):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*parts, {"type": "text", "text": "what is it?"}]
    return {"messages": [{"role": "user", "content": content}], **more}


def video(url):
    part = {"type": "video_url", "video_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}]}


def resized(png, width, height):
    """A PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


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


PNG = drawn()
URL = encoded(PNG)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
HUGE = encoded(resized(PNG, 20_000, 20_000))
MOVING = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]


def animated(format):
    file = BytesIO()
    MOVING[0].save(file, format, save_all=True, append_images=MOVING[1:], duration=100)
    return encoded(file.getvalue())


REFUSED = {
    "no messages": ({}, "messages must be a list"),
    "a text for messages": ({"messages": "hello"}, "messages must be a list"),
    "no message": ({"messages": []}, "at least one message"),
    "a number for a message": ({"messages": [1]}, "must be an object, got 1"),
    "no role": ({"messages": [{"content": "x"}]}, "needs a role, got None"),
    "a list for a role": ({"messages": [{"role": ["user"]}]}, "needs a role"),
    "a number for content": ({"messages": [{"role": "user", "content": 5}]}, "got 5"),
    "a part without a type": ({"messages": [{"role": "user", "content": [{}]}]}, "has a type of"),
    "a text for a part": ({"messages": [{"role": "user", "content": ["x"]}]}, "has a type of"),
    "a list for a type": (
        {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]},
        "has a type of",
    ),
    "sound": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "has a type of",
    ),
    "a number for a text": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
        "needs a text",
    ),
    "no URL": ({"messages": [{"role": "u", "content": [{"type": "image_url"}]}]}, "must be {"),
    "a number for a URL": (shown(5), "must be {"),
    "a list for a URL": (shown([URL]), "must be {"),
    "a picture by another's key": (
        {"messages": [{"role": "u", "content": [
            {"type": "image_url", "image_url": {"url": URL}, "uuid": "of another"}]}]},
        "takes no uuid",
    ),
    "more pictures than allowed": (shown(URL, URL, URL, URL), "more than 3 pictures"),
    "a path": (shown("/etc/passwd"), "no path or other URL; got '/etc/passwd'"),
    "a path by URL": (shown("file:///etc/passwd"), "no path or other URL"),
    "bare base64": (shown(URL.partition(",")[2]), "no path or other URL"),
    "data without base64": (shown("data:image/svg+xml,<svg/>"), "no path or other URL"),
    "an http URL": (shown("https://example.com/a.png"), "FOVEATE_ALLOW_URLS=1"),
    "an http URL in capitals": (shown("HTTP://127.0.0.1/a.png"), "FOVEATE_ALLOW_URLS=1"),
    "base64 of other letters": (shown("data:image/png;base64,@@@@"), "base64 of a picture"),
    "base64 cut short": (shown("data:image/png;base64,QUJ"), "base64 of a picture"),
    "base64 beyond ASCII": (shown("data:image/png;base64,\u00e4\u00e4"), "base64 of a picture"),
    "nothing": (shown("data:image/png;base64,"), "it begins b''"),
    "a drawing": (shown(encoded(SVG, "image/svg+xml")), "a picture must be PNG, JPEG, WEBP, GIF"),
    "another format": (shown(encoded(drawn("BMP"))), "a picture must be PNG"),
    "a page description": (shown(encoded(b"%!PS-Adobe-3.0")), "a picture must be PNG"),
    "a clip for a picture": (shown(encoded(clip())), "a picture must be PNG"),
    "a picture cut short": (shown(encoded(PNG[:900])), "cannot read a picture"),
    "a JPEG cut short": (shown(encoded(drawn("JPEG")[:500])), "cannot read a picture"),
    "a WebP cut short": (shown(encoded(drawn("WEBP", lossless=True)[:500])), "cannot read"),
    "a GIF cut short": (shown(encoded(drawn("GIF")[:900])), "cannot read a picture"),
    "a header alone": (shown(encoded(PNG[:33])), "cannot read a picture"),
    "first bytes alone": (shown(encoded(b"\x89PNG\r\n\x1a\n" + b"x" * 99)), "cannot read a picture"),
    "a decompression bomb": (shown(HUGE), "too large"),
    "more pixels than allowed": (shown(blank(1000, 301)), "301,000 pixels"),
    "together more pixels": (shown(*[blank(400, 300)] * 3), "60,000 are left"),
    "no pixels": (shown(encoded(resized(PNG, 0, 5))), "a picture"),
    "an animated GIF": (shown(animated("GIF")), "an animated picture"),
    "an animated WebP": (shown(animated("WEBP")), "an animated picture"),
    "an animated PNG": (shown(animated("PNG")), "an animated picture"),
    "a picture for a clip": (video(URL), "a clip must be MP4"),
    "a playlist for a clip": (video(encoded(b"#EXTM3U\nfile:///etc/passwd")), "a clip must be MP4"),
    "a clip cut short": (video(encoded(clip()[:400])), "cannot read a clip"),
    "a clip of too many bytes": (video(encoded(b"\0\0\0\x18ftyp" + b"x" * 20_001)), "20,000 bytes"),
    "a clip of too many pixels": (video(encoded(clip(frames=8, side=256))), "pixels"),
    "a clip's first bytes": (video(encoded(b"\0\0\0\x18ftypmp42" + b"\0" * 50)), "cannot read a clip"),
    "a share below 0": (shown(mm_processor_kwargs={"foveate": {"budget": -1}}), "got -1"),
    "a keep below 0": (
        shown(mm_processor_kwargs={"foveate": {"method": "aim", "keep": -1}}),
        "keep must be a share in (0, 1]",
    ),
    "a keep of letters": (
        shown(mm_processor_kwargs={"foveate": {"method": "aim", "keep": "x"}}),
        "keep must be",
    ),
    "a budget of letters": (shown(mm_processor_kwargs={"foveate": {"budget": "x"}}), "got 'x'"),
    "a budget of nothing": (shown(mm_processor_kwargs={"foveate": {"budget": None}}), "got None"),
    "a budget of a list": (shown(mm_processor_kwargs={"foveate": {"budget": [1]}}), "got [1]"),
    "a budget of a truth": (shown(mm_processor_kwargs={"foveate": {"budget": True}}), "got True"),
    "a budget and a method": (
        shown(mm_processor_kwargs={"foveate": {"budget": 0.5, "method": "aim"}}),
        "a budget takes budget and task",
    ),
    "a budget for another task": (
        shown(mm_processor_kwargs={"foveate": {"budget": 0.5, "task": "auto"}}),
        "task must be",
    ),
    "no method of that name": (
        shown(mm_processor_kwargs={"foveate": {"method": "magic"}}),
        "unknown method 'magic'",
    ),
    "no method": (shown(mm_processor_kwargs={"foveate": {"keep": 0.5}}), "a reduction is written"),
    "a list for a method": (shown(mm_processor_kwargs={"foveate": {"method": []}}), "unknown method"),
    "letters for ours": (shown(mm_processor_kwargs={"foveate": "x"}), "a reduction or a budget"),
    "another's setting": (
        shown(mm_processor_kwargs={"foveate": None, "min_pixels": 1, "max_pixels": 10**9}),
        "got 'foveate', 'min_pixels', 'max_pixels'",
    ),
    "a list of settings": (shown(mm_processor_kwargs=[1]), "mm_processor_kwargs takes"),
    "a template": (shown(chat_template="{{ 9 ** 9 ** 9 }}"), "chat_template cannot be set"),
    "a template by its settings": (
        shown(chat_template_kwargs={"chat_template": "{{ 9 ** 9 ** 9 }}"}),
        "chat_template_kwargs takes enable_thinking",
    ),
    "a generation's settings": (shown(generation_config="{}"), "generation_config cannot be set"),
    "no length": (shown(max_tokens=0), "max_tokens must be 1 to 4096, got 0"),
    "too long an answer": (shown(max_completion_tokens=10**9), "1 to 4096"),
    "half a token": (shown(max_tokens=1.5), "got 1.5"),
    "a truth for a length": (shown(max_tokens=True), "got True"),
    "letters for stream": (shown(stream="yes"), "stream must be bool, got 'yes'"),
    "letters for a temperature": (shown(temperature="hot"), "temperature must be int or float"),
    "a truth for a seed": (shown(seed=True), "seed must be int, got True"),
    "a number for tools": (shown(tools=5), "tools must be list, got 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_one_sentence_and_never_shown(name, untyped):
    body, says = REFUSED[name]
    (status, sentence), seen = tried(body)
    assert status == 400
    assert says in sentence
    assert "\n" not in sentence
    assert len(sentence) < 800
    assert seen == []


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_are_none(number):
    body = json.dumps(shown(mm_processor_kwargs={"foveate": {"budget": "@"}})).encode()
    given, seen = tried(body.replace(b'"@"', number))
    assert given[0] == 400
    assert "is no number" in given[1]
    assert seen == []


def test_a_body_of_too_many_bytes_is_refused_while_it_streams_in():
    taken = []

    async def receive():
        taken.append(1)
        return {"type": "http.request", "body": b"x" * 50_000, "more_body": True}

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


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "10.1.2.3", "172.16.0.1",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "localhost",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]",
        "[64:ff9b::a00:1]", "[2002:7f00:1::]", "[ff02::1]",
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    "url",
    [
        "http:///a",
        "http://u:p@h/a",
        "http://h:99999/",
        "http://[::1",
        "http://h:0/",
        "http://h\u2100/",
    ],
)
def test_urls_that_are_none(url):
    given, _ = tried(shown(url), Limits(allow_urls=1))
    assert given[0] == 400
    assert "a URL must be http(s)://HOST/PATH" in given[1]


class Elsewhere(BaseHTTPRequestHandler):
    """A server of pictures, and of what a hostile one sends."""

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good.png")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        if self.path == "/short":
            self.send_header("Content-Length", "99999")
        self.end_headers()
        if self.path == "/slow":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        body = {"/large": b"x" * 150_001, "/text": b"hello"}.get(self.path, PNG)
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):  # the guard hangs up
            super().handle()


@pytest.fixture
def elsewhere(monkeypatch):
    """The address of a server, whose name nobody but the guard's first look-up knows."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(fetching, "public_address", lambda host, port: "127.0.0.1")
    yield f"http://pictures.invalid:{server.server_port}"
    server.shutdown()
    server.server_close()


ALLOWED = Limits(max_body_bytes=200_000, allow_urls=1, max_seconds=1)


def test_a_picture_behind_a_url_is_fetched_here_from_the_address_that_was_looked_at(elsewhere):
    given, (seen,) = tried(shown(f"{elsewhere}/good.png?size=1", URL), ALLOWED)
    assert given == (200, "fine")
    assert seen == shown(URL, URL)  # the server behind sees no URL


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/moved", "answered 302; redirects are not followed"),
        ("/none", "answered 404"),
        ("/large", "more than 150,000 bytes"),
        ("/text", "a picture must be PNG"),
        ("/short", "IncompleteRead|cut short"),
        ("/slow", "it took more than 1 seconds"),
    ],
)
def test_what_is_behind_a_url_is_not_trusted(elsewhere, path, says):
    began = time.monotonic()
    given, seen = tried(shown(f"{elsewhere}{path}"), ALLOWED)
    assert given[0] == 400
    assert any(part in given[1] for part in says.split("|"))
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
