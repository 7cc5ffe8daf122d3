import asyncio
import json
import logging
import sys

import pytest

from foveate.errors import InputError
from foveate.serving.budget import Budget
from foveate.serving.budget.metrics import NoMetrics, metrics
from foveate.serving.guard import Guard
from serving.asgi import CHAT, Clock, Server, chat, data_url, post

TARGET = {"ttft_ms": 500.0, "model": "llava-1.5-7b", "calibration": "l4"}
ENCODINGS = ("utf-8", "utf-16", "utf-8-sig")
QUICK, SLOW = 5000.0, 1.0  # targets that all requests meet, and none


class Told(NoMetrics):
    """Keeps what it is told."""

    def __init__(self):
        self.rows = []

    def admitted(self, keep, by, before, after):
        self.rows.append((keep, by, before, after))

    def foretold(self, *, held):
        self.rows.append(("foretold", held))

    def measured(self, seconds, held):
        self.rows.append(("measured", round(seconds, 3), held))

    def answered(self, seconds):
        self.rows.append(("answered", round(seconds, 3)))

    def state(self, controller):
        self.rows.append(("state", len(controller.in_flight)))


def made(target=TARGET, **knobs):
    clock = Clock()
    server = Server(clock, **knobs)
    app = Budget(server, clock=clock, **target)
    app.metrics = Told()
    return app, server, clock


def served(app, *requests, **how):
    async def all_of_them():
        return [await post(app, request, **how) for request in requests]

    return asyncio.run(all_of_them())


def test_all_is_kept_where_the_target_allows_it():
    app, server, _ = made(TARGET | {"ttft_ms": QUICK})
    asked = chat(data_url(), stream=True)
    (answer,) = served(app, asked, pieces=3)
    # said, too, because an engine may have a default
    assert server.asked == {"mm_processor_kwargs": {"foveate": None}, **asked}
    assert answer.budget == "1; by=target; held=yes"
    assert answer.body == b"data: a\n\ndata: b\n\n"
    assert answer.headers["x"] == "y"
    assert app.metrics.rows == [
        ("1", "target", 576, 576), ("foretold", True),
        ("measured", 0.2, True), ("state", 1), ("state", 0),
    ]  # fmt: skip


def test_a_target_that_cannot_be_held_is_told_and_the_least_is_kept():
    app, server, _ = made(TARGET | {"ttft_ms": SLOW})
    (answer,) = served(app, chat(data_url(), stream=True))
    assert answer.budget == "0.0625; method=aim-merge; by=target; held=no"
    assert server.asked == {
        "mm_processor_kwargs": {"foveate": {"method": "aim-merge", "keep": 0.0625}},
        **chat(data_url(), stream=True),
    }
    assert dict(server.scopes[0]["headers"])[b"content-length"] == b"%d" % len(server.bodies[0])
    assert ("0.0625", "target", 576, 36) in app.metrics.rows
    assert ("measured", 0.2, False) in app.metrics.rows


def test_more_in_flight_keep_less():
    async def crowd():
        gate = asyncio.Event()
        app, _, _ = made(TARGET | {"ttft_ms": 600.0}, gate=gate)
        posts = [asyncio.ensure_future(post(app, chat(data_url(), stream=True))) for _ in range(12)]
        await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(app.controller.in_flight) == 12
        gate.set()
        answers = await asyncio.gather(*posts)
        assert not app.controller.in_flight
        return [float(answer.budget.split(";")[0]) for answer in answers]

    keeps = asyncio.run(crowd())
    assert keeps[0] == 1
    assert keeps[-1] == 0.0625
    assert keeps == sorted(keeps, reverse=True)


def test_without_a_target_nothing_is_reduced():
    for settings in ({"method": "divprune"}, {"model": "llava-1.5-7b"}):
        app, server, _ = made(settings)
        body = json.dumps(chat(data_url())).encode()
        (answer,) = served(app, body)
        assert server.bodies == [body]
        assert answer.budget == "default; by=server"


@pytest.mark.parametrize(
    ("kwargs", "left", "header"),
    [
        ({"max_pixels": 10**9, "fps": 9}, None, "default; by=server; stripped=2"),
        ({"foveate": {"method": "divprune", "keep": 0.3}, "size": 1},
         {"foveate": {"method": "divprune", "keep": 0.3}},
         "0.3; method=divprune; by=client; stripped=1"),
        ({"foveate": None}, {"foveate": None}, "1; by=client"),
        (None, None, "default; by=server"),
        ("all", None, "default; by=server; stripped=1"),
        ([1], None, "default; by=server; stripped=1"),
    ],
)  # fmt: skip
def test_other_kwargs_of_a_clients_are_stripped(kwargs, left, header):
    app, server, _ = made({"model": "llava-1.5-7b"})
    (answer,) = served(app, chat(data_url(), mm_processor_kwargs=kwargs))
    assert server.asked.pop("mm_processor_kwargs", None) == left
    assert {**server.asked, "mm_processor_kwargs": 0} == chat(data_url(), mm_processor_kwargs=0)
    assert answer.budget == header


def test_what_the_same_flag_opens_for_loading_is_stripped_too():
    app, server, _ = made({"model": "llava-1.5-7b"})
    asked = chat(data_url(), media_io_kwargs={"video": {"num_frames": 10**6}})
    (answer,) = served(app, asked)
    assert "media_io_kwargs" not in server.asked
    assert answer.budget == "default; by=server; stripped=1"


def test_kwargs_do_not_come_back_by_a_name_that_is_written_twice():
    app, server, _ = made(TARGET | {"ttft_ms": SLOW})
    text = json.dumps(chat(data_url()))
    twice = (
        text[:-1] + ', "mm_processor_kwargs": {"size": 1}, "mm_\\u0070rocessor_kwargs": {"a": 2}}'
    )
    served(app, twice.encode())
    pairs = json.loads(server.bodies[0], object_pairs_hook=list)
    assert [value for name, value in pairs if name == "mm_processor_kwargs"] == [
        [("foveate", [("method", "aim-merge"), ("keep", 0.0625)])]
    ]


def test_a_clients_own_budget_wins_over_the_target():
    app, server, _ = made(TARGET | {"ttft_ms": SLOW})
    own = {"method": "divprune", "keep": 0.5}
    (answer,) = served(app, chat(data_url(), mm_processor_kwargs={"foveate": own}))
    assert server.asked["mm_processor_kwargs"] == {"foveate": own}
    assert answer.budget == "0.5; method=divprune; by=client; held=no"
    assert ("own", "client", 576, 288) in app.metrics.rows


def test_nothing_is_foretold_of_a_budget_that_the_server_plans():
    app, server, _ = made(TARGET | {"ttft_ms": QUICK})
    own = {"budget": "25%"}
    (answer,) = served(app, chat(data_url(), mm_processor_kwargs={"foveate": own}))
    assert server.asked["mm_processor_kwargs"] == {"foveate": own}
    assert answer.budget == "?; by=client"
    assert not any(row[0] == "foretold" for row in app.metrics.rows)


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_every_status_of_the_servers_tells_what_was_chosen(status):
    app, _, _ = made(TARGET | {"ttft_ms": SLOW}, status=status)
    (answer,) = served(app, chat(data_url()))
    assert (answer.status, answer.budget) == (
        status,
        "0.0625; method=aim-merge; by=target; held=no",
    )


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"method": "divprune", "keep": 1.0}, "1; method=divprune; by=client"),
        ({"before": {"method": "divprune"}}, "0.25; by=client"),
        ({"method": "aim", "keep": 0.5, "prune": None}, "0.5; method=aim; by=client"),
        ({"method": "pool"}, "0.25; method=pool; by=client"),
        ({"method": "fastv"}, "?; method=fastv; by=client"),
        ({"budget": "25%"}, "?; by=client"),
    ],
)
def test_every_way_to_write_a_budget_is_told(own, told):
    app, server, _ = made({"model": "llava-1.5-7b"})
    (answer,) = served(app, chat(data_url(), mm_processor_kwargs={"foveate": own}))
    assert server.asked["mm_processor_kwargs"] == {"foveate": own}
    assert answer.budget == told


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"method": "divprune", "keep": 7}, "keep must be a share"),
        ({"method": "nope"}, "unknown method"),
        ("half", "a budget is written"),
        ({"budget": "soon"}, "a budget is a share"),
        ({}, "a reduction is written"),
        (0.25, "got 0.25"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
def test_what_is_no_budget_is_answered_with_400(own, message, path):
    app, server, _ = made()
    (answer,) = served(app, chat(data_url(), mm_processor_kwargs={"foveate": own}), path=path)
    assert answer.status == 400
    error = json.loads(answer.body)["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert not server.bodies
    assert not app.controller.in_flight


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"mm_processor_kwargs", b'"{}"'],
    ids=lambda body: repr(body)[:12],
)
def test_a_body_that_is_no_object_is_the_servers_to_refuse(body):
    app, server, _ = made(status=422)
    (answer,) = served(app, body, pieces=2)
    assert server.bodies == [body]
    assert answer.status == 422
    assert answer.budget is None


@pytest.mark.parametrize(
    "messages", [None, 3, [3], [{}], [{"content": 3}], [{"content": [3, {"image_url": 4}]}], {}]
)
def test_messages_of_no_known_form_pass(messages):
    app, server, _ = made()
    body = json.dumps({"messages": messages}).encode()
    (answer,) = served(app, body)
    assert server.bodies == [body]
    assert answer.status == 200


def test_text_alone_passes_untouched_but_is_counted():
    app, server, _ = made(TARGET | {"ttft_ms": SLOW})
    body = json.dumps(chat(text="word " * 400, stream=True)).encode()
    (answer,) = served(app, body)
    assert server.bodies == [body]
    assert answer.budget is None
    assert answer.headers == {"x": "y"}
    assert app.controller.correction.seen == 1
    assert not [row for row in app.metrics.rows if row[1:2] == ("target",)]


def test_other_routes_and_kinds_pass_untouched():
    app, server, _ = made(TARGET | {"ttft_ms": SLOW})
    body = json.dumps(chat(data_url())).encode()
    served(app, body, path="/v1/responses")
    served(app, body, path="/v1/completions")
    served(app, body, method="GET")
    served(app, b'{"mm_processor_kwargs": 1}', headers=((b"content-type", b"multipart/form-data"),))
    assert server.bodies == [body, body, body, b'{"mm_processor_kwargs": 1}']
    asyncio.run(app({"type": "websocket", "path": CHAT}, None, None))
    assert server.scopes[-1]["type"] == "websocket"
    assert not app.controller.in_flight


def test_other_routes_take_no_kwargs_either():
    app, server, _ = made()
    own = {"foveate": {"method": "divprune", "keep": 0.5}}
    served(app, {"input": "x", "mm_processor_kwargs": {**own, "size": 3}}, path="/v1/responses")
    assert server.asked == {"input": "x", "mm_processor_kwargs": own}
    served(app, {"input": "x", "mm_processor_kwargs": {"size": 3}}, path="/pooling")
    assert server.asked == {"input": "x"}


def test_a_root_path_is_no_other_route():
    app, _, _ = made(TARGET | {"ttft_ms": SLOW})
    (answer,) = served(app, chat(data_url()), path="/vlm" + CHAT, root_path="/vlm")
    assert answer.budget.startswith("0.0625;")


class Echo:
    """Answers with the budget that it was asked for, after a while."""

    async def __call__(self, scope, receive, send):
        body = (await receive())["body"]
        assert (b"content-length", str(len(body)).encode()) in scope["headers"]
        asked = json.loads(body)
        await asyncio.sleep(asked["seed"] % 7 / 1000)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        told = json.dumps(asked["mm_processor_kwargs"]["foveate"]).encode()
        await send({"type": "http.response.body", "body": told})


@pytest.mark.parametrize("outside", ["guard", "budget"])
def test_beside_the_guard_each_of_many_requests_gets_its_own(outside):
    target = TARGET | {"ttft_ms": SLOW}
    if outside == "guard":
        budget = Budget(Echo(), **target)
        app = Guard(budget)
    else:
        app = budget = Budget(Guard(Echo()), **target)
    budget.metrics = Told()
    own = [None if n % 3 else {"method": "pool", "keep": (n + 1) / 50} for n in range(50)]

    def body(number, given):
        more = {"mm_processor_kwargs": {"foveate": given}} if given else {}
        return json.dumps(chat(data_url(), seed=number, **more)).encode(ENCODINGS[number % 3])

    async def all_of_them():
        bodies = [body(*one) for one in enumerate(own)]
        return await asyncio.gather(*[post(app, one, pieces=3) for one in bodies])

    for given, answer in zip(own, asyncio.run(all_of_them()), strict=True):
        assert json.loads(answer.body) == (given or {"method": "aim-merge", "keep": 0.0625})
        told = f"{given['keep']:g}; method=pool; by=client" if given else "0.0625; method=aim-merge"
        assert (answer.budget or "").startswith(told)
    assert not budget.controller.in_flight


@pytest.mark.parametrize("streams", [True, False])
def test_a_failing_server_is_counted_out(streams):
    app, _, _ = made(fails=True)
    with pytest.raises(RuntimeError, match="the engine died"):
        served(app, chat(data_url(), stream=streams))
    assert not app.controller.in_flight
    assert app.controller.correction.seen == 0


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 980, 2000])
def test_a_deep_body_stays_in_nobodys_way(depth):
    app, server, _ = made()
    deep = "[" * depth + "]" * depth
    text = json.dumps(chat(data_url(), mm_processor_kwargs={"size": 1}))[:-1] + f', "x": {deep}}}'
    (answer,) = served(app, text.encode())
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert b"nested less deeply" in answer.body
    elif answer.budget:
        assert server.asked["mm_processor_kwargs"] == {"foveate": None}
    assert not app.controller.in_flight


def test_what_the_server_refuses_itself_is_its_own():
    class Refusing(Server):
        async def __call__(self, scope, receive, send):
            raise InputError("no such model")

    app = Budget(Refusing(Clock()), **TARGET)
    with pytest.raises(InputError, match="no such model"):
        served(app, chat(data_url()))
    assert not app.controller.in_flight


def test_a_client_that_leaves_is_counted_out():
    async def leaving():
        leaves = asyncio.Event()
        app, _, _ = made(gate=asyncio.Event())
        request = asyncio.ensure_future(post(app, chat(data_url(), stream=True), leaves=leaves))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(app.controller.in_flight) == 1
        leaves.set()
        answer = await request
        assert not answer.messages
        assert not app.controller.in_flight
        cancelled = asyncio.ensure_future(post(app, chat(data_url(), stream=True)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(app.controller.in_flight) == 1
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not app.controller.in_flight
        assert app.controller.correction.seen == 0

    asyncio.run(leaving())


def test_a_client_that_leaves_while_it_sends_asks_nothing():
    async def leaving():
        app, server, _ = made()
        inbox = [
            {"type": "http.request", "body": b'{"a', "more_body": True},
            {"type": "http.disconnect"},
        ]
        got = []

        async def receive():
            return inbox.pop(0)

        async def send(message):
            got.append(message)

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        await app(scope, receive, send)
        assert not server.bodies
        assert not got
        assert not app.controller.in_flight

    asyncio.run(leaving())


@pytest.mark.parametrize(
    ("knobs", "streams"),
    [
        ({}, False),
        ({"status": 500}, True),
        ({"parts": (b'data: {"error": {}}\n\n',), "waits": (0.1,)}, True),
        ({"parts": (b"",), "waits": (0.1,)}, True),
    ],
)
def test_only_the_first_token_of_a_good_stream_teaches(knobs, streams):
    app, _, _ = made(**knobs)
    served(app, chat(data_url(), stream=streams))
    assert app.controller.correction.seen == 0
    assert not app.controller.in_flight
    answered = [row for row in app.metrics.rows if row[0] == "answered"]
    assert answered == ([] if streams else [("answered", 0.3)])


def test_what_is_measured_changes_what_is_chosen():
    app, _, _ = made(TARGET | {"ttft_ms": 500.0}, waits=(2.0, 0.1))
    answers = served(app, *[chat(data_url(), stream=True)] * 8)
    assert answers[0].budget == "1; by=target; held=yes"
    assert "held=no" in answers[-1].budget


def test_what_is_wrong_in_the_environment_fails_the_start(monkeypatch, caplog):
    monkeypatch.setenv("FOVEATE_TTFT_MS", "soon")
    app = Budget(Server(Clock()))
    sent = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    with caplog.at_level(logging.ERROR, "foveate"):
        asyncio.run(app({"type": "lifespan"}, receive, send))
    why = "FOVEATE_TTFT_MS must be milliseconds, got 'soon'"
    assert sent == [{"type": "lifespan.startup.failed", "message": why}]
    assert why in caplog.text
    with pytest.raises(InputError, match="got 'soon'"):
        served(app, chat(data_url()))


def test_the_environment_sets_it(monkeypatch):
    monkeypatch.setenv("FOVEATE_TTFT_MS", "1")
    monkeypatch.setenv("FOVEATE_MODEL", "llava-1.5-7b")
    server = Server(Clock())
    app = Budget(server)
    (answer,) = served(app, chat(data_url()))
    assert answer.budget == "0.0625; method=aim-merge; by=target; held=no"
    asyncio.run(app({"type": "lifespan"}, None, None))
    assert server.scopes[-1]["type"] == "lifespan"


def test_keywords_are_refused_at_once():
    with pytest.raises(InputError, match="ttft_ms must be milliseconds above 0"):
        Budget(Server(Clock()), **(TARGET | {"ttft_ms": -1}))


def test_without_prometheus_there_are_no_metrics_and_that_is_said_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "foveate"):
            for _ in range(2):
                assert type(metrics()) is NoMetrics
        assert caplog.text.count("no metrics: prometheus_client is not installed") == 1
    finally:
        metrics.cache_clear()


class Fake:
    """A module like prometheus_client, with counters that count."""

    def __init__(self):
        self.values = {}

    def Counter(self, name, text, labels=(), **more):
        return Sample(self.values, name)

    Gauge = Histogram = Counter


class Sample:
    def __init__(self, values, name):
        self.values, self.name = values, name

    def labels(self, *labels):
        return Sample(self.values, (self.name, *labels))

    def inc(self, by=1):
        self.values[self.name] = self.values.get(self.name, 0) + by

    def set(self, value):
        self.values[self.name] = value

    observe = set


def test_prometheus_is_told(monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "prometheus_client", fake)
    metrics.cache_clear()
    try:
        clock = Clock()
        app = Budget(Server(clock), clock=clock, **(TARGET | {"ttft_ms": SLOW}))
        served(app, *[chat(data_url(), stream=True)] * 2, chat(data_url()))
    finally:
        metrics.cache_clear()
    assert fake.values["foveate_requests_total", "0.0625", "target"] == 3
    assert fake.values["foveate_visual_tokens_total", "before"] == 3 * 576
    assert fake.values["foveate_visual_tokens_total", "after"] == 3 * 36
    assert fake.values["foveate_target_foretold_total", "no"] == 3
    assert fake.values["foveate_target_measured_total", "no"] == 2
    assert fake.values["foveate_requests_in_flight"] == 0
    assert fake.values["foveate_first_token_seconds"] == pytest.approx(0.2)
    assert fake.values["foveate_answer_seconds"] == pytest.approx(0.3)
    assert fake.values["foveate_correction", "own"] > 0
