import base64
import binascii
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from foveate.serving.budget import sizes
from foveate.serving.budget.body import Asked, parsed, read, stripped, with_budget
from foveate.serving.budget.sizes import size_of
from serving.asgi import chat, data_url

BUDGET = {"foveate": {"method": "aim-merge", "keep": 0.25}}


def rewritten(body, fields, budget):
    return with_budget(stripped(body, fields), budget)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (48, 64), (700, 33)])
def test_sizes_are_read_of_every_common_format(kind, size):
    assert size_of(data_url(*size, kind)) == size


@pytest.mark.skipif(not features.check("webp"), reason="Pillow was built without WebP")
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"exif": b"Exif\0\0MM"}])
def test_sizes_are_read_of_every_kind_of_webp(options):
    buffer = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(buffer, "WEBP", **options)
    url = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    assert size_of(url) == (200, 300)


def test_a_large_picture_is_not_decoded(monkeypatch):
    decoded = []

    def count(text):
        decoded.append(len(text))
        return binascii.a2b_base64(text)

    monkeypatch.setattr(sizes, "_decoded", count)
    assert size_of(data_url() + "A" * 40_000_000) == (48, 64)
    assert sum(decoded) < 10_000


def test_a_large_header_is_read_past():
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[270] = "x" * 60_000
    Image.new("RGB", (70, 50)).save(buffer, "JPEG", exif=exif)
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    assert size_of(url) == (50, 70)


@pytest.mark.parametrize(
    "url",
    ["", "data:", "http://x/y.png", "data:image/png;base64,", "data:image/png;base64,@@@@",
     "data:image/png,abc", "data:image/png;base64,aGVsbG8=", "file:///etc/passwd",
     "data:image/webp;base64," + base64.b64encode(b"RIFF....WEBPVP8X").decode(),
     "data:image/dds;base64," + base64.b64encode(b"DDS |\0\0\0" + bytes(120)).decode()],
)  # fmt: skip
def test_what_does_not_tell_its_size_has_none(url):
    assert size_of(url) is None


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"\xff\xd8"]),
)
def test_no_bytes_break_it(data, start):
    url = f"data:image/x;base64,{base64.b64encode(start + data).decode()}"
    found = size_of(url)
    assert found is None or min(found) > 0


def test_a_body_is_read():
    asked = read(
        {
            "stream": True,
            "messages": [
                {"role": "system", "content": "12345"},
                {"role": "user", "content": [
                    "123", {"type": "text", "text": "12"}, {"image_url": data_url(3, 4)},
                    {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
                    {"type": "video_url", "video_url": {"url": "http://x/y.mp4"}},
                    {"type": "image_embeds", "image_embeds": "AAAA"},
                ]},
                {"role": "assistant", "content": None},
            ],
        }
    )  # fmt: skip
    assert asked == Asked(((3, 4), None), 1, 10, True)
    assert asked.shown
    assert not read(chat(text="a")).shown


def test_pictures_are_not_written_anew():
    text = ' {"messages": [],\n "x": 1.50, "y": "\\u00e9\u00e9"}'
    body = text.encode()
    got = rewritten(body, parsed(body), BUDGET)
    added = b'{"mm_processor_kwargs": {"foveate": {"method": "aim-merge", "keep": 0.25}}, '
    assert got == b" " + added + body[2:]
    assert with_budget(b"{ \n}", BUDGET).endswith(b"0.25}} \n}")
    assert rewritten(body, parsed(body), {}) is body
    assert json.loads(rewritten(b"{}", {}, BUDGET)) == {"mm_processor_kwargs": BUDGET}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_every_encoding_of_json_is_rewritten(encoding):
    fields = {"a": "\u00e9"}
    body = json.dumps(fields, ensure_ascii=False).encode(encoding)
    assert json.loads(rewritten(body, parsed(body), BUDGET)) == {
        **fields, "mm_processor_kwargs": BUDGET,
    }  # fmt: skip
    assert rewritten(body, parsed(body), {}) is body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text() | st.sampled_from(["mm_processor_kwargs", "messages"]), JSON),
       st.sampled_from([{}, BUDGET]), st.booleans())  # fmt: skip
def test_any_object_keeps_all_its_other_fields(fields, budget, ascii_only):
    body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    got = json.loads(rewritten(body, fields, budget))
    opened = {
        name: got.pop(name) for name in ("mm_processor_kwargs", "media_io_kwargs") if name in got
    }
    assert opened == ({} if not budget else {"mm_processor_kwargs": budget})
    assert got == {name: value for name, value in fields.items() if name != "mm_processor_kwargs"}
