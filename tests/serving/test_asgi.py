"""The shared pieces of ASGI: bodies under a limit, strict JSON, replaced bodies, errors."""

import asyncio
import json
import time

import pytest

from foveate.errors import InputError
from foveate.serving import asgi


def receiver(*messages):
    """A `receive` that gives these messages, and counts how many were taken."""
    left = list(messages)

    async def receive():
        receive.taken += 1
        return left.pop(0)

    receive.taken = 0
    return receive


def piece(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def scope(*headers):
    return {"type": "http", "headers": list(headers)}


def read(messages, limit=100, headers=()):
    receive = receiver(*messages)
    return asyncio.run(asgi.read_body(scope(*headers), receive, limit)), receive


def test_a_body_comes_in_pieces():
    body, receive = read([piece(b"{", True), piece(b"", True), piece(b"}"), GONE])
    assert body == b"{}"
    assert receive.taken == 3


def test_a_body_of_exactly_the_limit_is_read_and_one_more_is_not():
    assert read([piece(b"x" * 100)])[0] == b"x" * 100
    with pytest.raises(asgi.Refusal, match="more than 100 bytes") as refused:
        read([piece(b"x" * 101)])
    assert refused.value.status == 413


def test_a_long_body_is_refused_while_it_streams_in():
    receive = receiver(*[piece(b"x" * 60, True)] * 50)
    with pytest.raises(asgi.Refusal):
        asyncio.run(asgi.read_body(scope(), receive, 100))
    assert receive.taken == 2


def test_time_grows_with_the_bytes_and_not_with_their_pieces():
    async def endless():
        return piece(b"x", True)

    async def refused():
        with pytest.raises(asgi.Refusal):
            await asgi.read_body(scope(), endless, 50_000)

    begun = time.process_time()
    asyncio.run(refused())
    assert time.process_time() - begun < 5  # 30 s when all pieces are added up for each


def test_a_declared_length_is_believed_where_it_is_too_much_and_not_where_it_is_too_little():
    receive = receiver(piece(b"x"))
    with pytest.raises(asgi.Refusal) as refused:
        asyncio.run(asgi.read_body(scope((b"Content-Length", b"101")), receive, 100))
    assert (refused.value.status, receive.taken) == (413, 0)
    with pytest.raises(asgi.Refusal):
        read([piece(b"x" * 101)], headers=[(b"content-length", b"3")])


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"\xb2", b"9" * 5000])
def test_lengths_that_are_no_numbers_of_bytes(length):
    with pytest.raises(asgi.Refusal):
        read([piece(b"{}")], headers=[(b"content-length", length)])


def test_a_client_that_hangs_up():
    with pytest.raises(asgi.DisconnectedError):
        read([piece(b"{", True), GONE])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Expecting value"),
        (b"{", "must be one JSON object"),
        (b"[]", "got list"),
        (b'"x"', "got str"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "1e999 is too large a number"),
        (b'{"a": [-1E400]}', "-1E400 is too large a number"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' stands twice"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"[" * 200_000, "recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
)
def test_bodies_that_are_no_json_object(body, says):
    with pytest.raises(asgi.Refusal, match=says) as refused:
        asgi.parse(body)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["é" * 50, "数" * 50, "\ud800", "\U0001f600"])
def test_a_body_is_written_in_no_more_bytes_than_it_came_in(text):
    came = json.dumps({"a": text}, ensure_ascii="\ud800" in text).encode()
    new = asgi.written(asgi.parse(came))
    assert json.loads(new) == {"a": text}
    assert len(new) <= len(came)


def test_a_replaced_body_is_told_and_given_once():
    old = scope((b"Host", b"here"), (b"Content-Length", b"7"), (b"Transfer-Encoding", b"chunked"))
    new = asgi.with_body(old, b"{}")
    assert new["headers"] == [(b"Host", b"here"), (b"content-length", b"2")]
    assert len(old["headers"]) == 3

    async def both():
        receive = asgi.replay(b"{}", receiver(GONE))
        return await receive(), await receive()

    assert asyncio.run(both()) == (piece(b"{}"), GONE)


def test_an_error_is_one_json_document_in_openais_form():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(asgi.refuse(send, 413, 'too "large"', [(b"retry-after", b"1")]))
    start, body = sent
    assert start["status"] == 413
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert (b"retry-after", b"1") in start["headers"]
    error = json.loads(body["body"])["error"]
    assert error == {"message": 'too "large"', "type": "request_too_large", "code": 413}


def test_a_start_that_fails_says_why_and_no_request_passes():
    sent = []

    async def send(message):
        sent.append(message)

    receive = receiver({"type": "lifespan.startup"})
    asyncio.run(asgi.fail_to_start({"type": "lifespan"}, receive, send, "no number"))
    assert sent == [{"type": "lifespan.startup.failed", "message": "no number"}]
    with pytest.raises(InputError, match="no number"):
        asyncio.run(asgi.fail_to_start(scope(), receiver(), send, "no number"))
