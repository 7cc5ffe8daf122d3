"""What strangers send: pictures, clips and bodies that a guard passes, and many that it must refuse."""

import base64
import json
import struct
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import av
import numpy as np
from PIL import Image

from foveate.serving.guard.limits import Limits

SMALL = Limits(
    max_body_bytes=800_000,
    max_media=3,
    max_pixels=300_000,
    max_video_bytes=20_000,
    max_video_frames=100,
)


def encoded(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def saved(picture, format="PNG", **options):
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def drawn(format="PNG", size=(40, 30), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), format, **options)


def blank(*size, mode="RGB"):
    return encoded(saved(Image.new(mode, size)))


def clip(frames=8, side=32, format="mp4", codec="mpeg4"):
    file = BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = side
        for number in range(frames):
            pixels = np.full((side, side, 3), number * 8 % 256, dtype=np.uint8)
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


def called(calls):
    """A conversation in which the model called tools."""
    before = [{"role": "user", "content": "what?"}, {"role": "assistant", "tool_calls": calls}]
    return {"messages": [*before, {"role": "user", "content": "and?"}]}


def resized(png, width, height):
    """A PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


PNG = drawn()
URL = encoded(PNG)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
BOMB = blank(20_000, 20_000, mode="1")  # 50 MB of pixels in as many KB
HUGE = encoded(resized(PNG, 20_000, 20_000))
MOVING = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]


def animated(format):
    more = {"save_all": True, "append_images": MOVING[1:], "duration": 100}
    return encoded(saved(MOVING[0], format, **more))


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
    "a picture of one bit a pixel": (shown(BOMB), "too large"),
    "ten thousand pictures": (shown(*["data:,"] * 10_000), "more than 3 pictures"),
    "no pixels": (shown(encoded(resized(PNG, 0, 5))), "a picture"),
    "an animated GIF": (shown(animated("GIF")), "an animated picture"),
    "an animated WebP": (shown(animated("WEBP")), "an animated picture"),
    "an animated PNG": (shown(animated("PNG")), "an animated picture"),
    "a picture for a clip": (video(URL), "a clip must be MP4"),
    "a playlist for a clip": (video(encoded(b"#EXTM3U\nfile:///etc/passwd")), "a clip must be MP4"),
    "a clip cut short": (video(encoded(clip()[:400])), "cannot read a clip"),
    "a clip of too many bytes": (video(encoded(b"\0\0\0\x18ftyp" + b"x" * 20_001)), "20,000 bytes"),
    "a clip of too many pixels": (video(encoded(clip(frames=8, side=256))), "pixels"),
    "a clip of too many frames": (video(encoded(clip(frames=101, side=16))), "more than 100 frames"),
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
    "more answers than allowed": (shown(n=10**6), "n must be 1 to 16"),
    "colder than zero": (shown(temperature=-1), "temperature must be 0 to 2, got -1"),
    "a share above 1": (shown(top_p=5), "top_p must be 0 to 1"),
    "a seed beyond 64 bits": (shown(seed=2**70), "seed must be"),
    "an empty stop": (shown(stop=[""]), "stop must be a text"),
    "a number to stop at": (shown(stop=[5]), "stop must be a text"),
    "more stops than allowed": (shown(stop=["x"] * 17), "at most 16"),
    "a bias by letters": (shown(logit_bias={"a": 1}), "by a token's number"),
    "a bias of letters": (shown(logit_bias={"5": "x"}), "-100 to 100"),
    "a number for a tool": (shown(tools=[1]), "must be an object with a type"),
    "a tool without a name": (shown(tools=[{"type": "function"}]), "needs a name"),
    "letters for parameters": (
        shown(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
        "parameters of a tool must be an object",
    ),
    "a number for calls": (called(5), "tool_calls must be a list"),
    "a number for a call": (called([5]), "needs id as a text"),
    "a call of nothing": (called([{"id": "1"}]), "needs name as a text"),
    "a call's arguments cut short": (
        called([{"id": "1", "function": {"name": "f", "arguments": '{"a'}}]),
        "the text of a JSON object",
    ),
    "a list for arguments": (
        called([{"id": "1", "function": {"name": "f", "arguments": "[]"}}]),
        "the text of a JSON object",
    ),
}  # fmt: skip


def written(number):
    """A body whose budget is a number that JSON does not have."""
    body = json.dumps(shown(mm_processor_kwargs={"foveate": {"budget": "@"}})).encode()
    return body.replace(b'"@"', number)


RAW = {
    "a budget of NaN": (written(b"NaN"), "is no number"),
    "a budget of infinity": (written(b"Infinity"), "is no number"),
    "a budget below all": (written(b"-Infinity"), "is no number"),
    "a budget beyond floats": (written(b"1e999"), "too large a number"),
    "half a body": (json.dumps(shown(URL)).encode()[:-9], "must be one JSON object"),
    "no text": (b"\xff\xfe\xfa", "must be one JSON object"),
    "a list": (b"[]", "must be one JSON object, got list"),
    "lists in lists": (b"[" * 100_000, "must be one JSON object"),
    "a name twice": (b'{"messages": [], "messages": []}', "stands twice"),
}


PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "10.1.2.3", "172.16.0.1",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "localhost",
    "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]",
    "[64:ff9b::a00:1]", "[2002:7f00:1::]", "[ff02::1]",
]  # fmt: skip
NO_URLS = [
    "http:///a",
    "http://u:p@h/a",
    "http://h:99999/",
    "http://[::1",
    "http://h:0/",
    "http://h\u2100/",
]
BEHIND = {
    "/moved": "answered 302; redirects are not followed",
    "/none": "answered 404",
    "/large": "sends has more than",
    "/text": "a picture must be PNG",
    "/short": "IncompleteRead|cut short",
    "/slow": "it took more than 1 seconds",
}  # what such a server has there


WRONG = (None, True, 5, -1, 1.5, "x", "", [], {}, [1], [[]], [{}], {"a": 1})


def changed(value):
    """A body with each of its parts, at every depth, replaced by each of `WRONG`, and left out."""
    yield from WRONG
    for name in value if isinstance(value, dict) else ():
        for inner in changed(value[name]):
            yield {**value, name: inner}
        yield {key: value[key] for key in value if key != name}
    for at in range(len(value)) if isinstance(value, list) else ():
        for inner in changed(value[at]):
            yield [*value[:at], inner, *value[at + 1 :]]
        yield value[:at] + value[at + 1 :]


PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "string", "enum": ["a"]}},
    "required": ["a"],
}
FULL_CHAT = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "name": "me", "content": [
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "text", "text": "what is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "5"},
        {"role": "user", "content": "and?"}],
    "tools": [{"type": "function", "function": {
        "name": "f", "description": "finds", "parameters": PARAMETERS}}],
    "max_tokens": 1, "temperature": 0, "top_p": 1, "seed": 1, "stop": ["a"], "stream": False, "n": 1,
    "frequency_penalty": 0.5, "presence_penalty": 0, "logit_bias": {"5": 1}, "user": "me",
    "metadata": {"a": "b"}, "response_format": {"type": "text"}, "tool_choice": "auto",
    "stream_options": None, "logprobs": False, "top_logprobs": 0,
    "parallel_tool_calls": True, "chat_template_kwargs": {"enable_thinking": False},
    "mm_processor_kwargs": {"foveate": {"method": "divprune", "keep": 0.5}},
}  # fmt: skip
FULL_RESPONSE = {
    "input": [
        {"role": "user", "type": "message", "content": [
            {"type": "input_image", "image_url": URL, "detail": "low"},
            {"type": "input_text", "text": "what is it?"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "5"},
        {"type": "reasoning", "id": "r", "summary": [], "content": [
            {"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]}],
    "instructions": "be brief", "max_output_tokens": 1, "temperature": 0, "top_p": 1, "stream": False,
    "tools": [{"type": "function", "name": "f", "parameters": PARAMETERS, "strict": False}],
    "metadata": {}, "user": "me", "text": {"format": {"type": "text"}}, "include": [],
    "truncation": "disabled", "background": False,
    "mm_processor_kwargs": {"foveate": {"method": "divprune", "keep": 0.5}},
}  # fmt: skip


class Elsewhere(BaseHTTPRequestHandler):
    """A server of pictures, and of what a hostile one sends."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/inside")
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
        body = {"/large": b"x" * 2**20, "/text": b"hello"}.get(self.path, PNG)
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):  # the guard hangs up
            super().handle()


@contextmanager
def hostile_server():
    """Such a server: its port, and the paths that it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, server.asked
    finally:
        server.shutdown()
        server.server_close()
