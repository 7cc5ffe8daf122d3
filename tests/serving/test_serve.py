"""`foveate serve`: transformers' own server on a free port, asked by several clients at once."""

import asyncio
import base64
import gc
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

import foveate
from command import run
from foveate.ask.media import Sampling
from foveate.combine.aim import AIM
from foveate.errors import InputError, MissingExtraError, UnsupportedError
from foveate.planner.budget import Budget
from foveate.reduction import Reduction, create
from foveate.serving import server as serving
from foveate.serving.field import CHAT, KWARGS, RESPONSES
from foveate.serving.setting import Setting
from serving.asgi import post
from serving.client import Client, pieces
from serving.hostile import FULL_CHAT, FULL_RESPONSE, changed, clip

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
QUESTION = "how many digits are there?"
LENGTH = 8  # of every answer here: all tokens then depend on what the model sees
# what requests ask for, and the arguments of `vlm.ask` that mean the same
SETTINGS = {
    "off": (None, {}),
    "merged": ({"method": "fovea-merge", "keep": 0.25}, {"reduction": create("fovea-merge", keep=0.25)}),
    "pruned": ({"method": "aim", "keep": 0.25}, {"reduction": AIM(keep=0.25)}),
    "few": ({"method": "divprune", "keep": 0.1}, {"reduction": create("divprune", keep=0.1)}),
    "budget": ({"budget": "40%"}, {"budget": "40%"}),
    "cache": ({"budget": "0.2 MB"}, {"budget": "0.2 MB"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def vlm():
    loaded = foveate.load("foveate-mini")
    loaded.model.generation_config.min_new_tokens = LENGTH
    return loaded


@contextmanager
def serve(vlm, default=None, key=None):
    """A client of a server that runs in a thread."""
    uvicorn = pytest.importorskip("uvicorn")
    line = serving.listen("127.0.0.1", 0, key)
    app = serving.served(vlm, "mini", default or Setting(), Sampling(frames=4), key=key)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [line]}, daemon=True)
    thread.start()
    try:
        yield Client(line.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        line.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(vlm):
    with serve(vlm) as found:
        yield found


def shown(media="picture", question=QUESTION, setting=..., **more):
    """The body of a request."""
    content = [{"type": "text", "text": question}]
    if media:
        data = base64.b64encode(foveate.example(media).read_bytes()).decode()
        url = {"url": f"data:image/png;base64,{data}"}
        content.insert(0, {"type": "image_url", "image_url": url})
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": LENGTH, **more}
    return body if setting is ... else {**body, KWARGS: {"foveate": setting}}


@pytest.fixture(scope="module")
def answers(vlm):
    """What `vlm.ask` answers, by picture and setting: (text, header)."""
    found = {}
    for media in ("picture", "text"):
        for name, (_, knobs) in SETTINGS.items():
            answer = vlm.ask(foveate.example(media), QUESTION, max_new_tokens=LENGTH, **knobs)
            before, after = answer.report.visual_tokens_in[0], answer.report.visual_tokens_to_llm[0]
            found[media, name] = answer.text, f"before={before}, after={after}"
    return found


def test_the_settings_of_these_tests_can_be_told_apart(answers):
    texts = [text for (media, _), (text, _) in answers.items() if media == "picture"]
    assert len(set(texts)) >= len(SETTINGS) - 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_request_is_answered_as_vlm_ask_answers(client, answers, name, stream):
    body = shown(setting=SETTINGS[name][0], stream=stream)
    assert client.text(body) == answers["picture", name]


def test_a_stream_comes_in_pieces(client):
    _, _, text = client.ask(shown(stream=True, setting=SETTINGS["merged"][0]))
    assert len(pieces(text)) > 3
    last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["usage"]["completion_tokens"] == LENGTH
    assert last["usage"]["prompt_tokens"] > 300  # as before the reduction


def test_the_log_tells_what_became_of_a_request(client, caplog):
    with caplog.at_level("INFO", "foveate.serving"):
        client.text(shown(stream=True, setting=SETTINGS["merged"][0]))
        client.text(shown(None, setting=SETTINGS["merged"][0]))
    (line,) = [entry.getMessage() for entry in caplog.records if entry.name.startswith("foveate")]
    assert line.startswith("foveate.FoveaMerge(keep=0.25): 300 visual tokens, 75 to the LLM")


def test_the_default_is_for_requests_that_ask_for_nothing(vlm, answers):
    with serve(vlm, Setting(AIM(keep=0.25))) as client:
        assert client.text(shown()) == answers["picture", "pruned"]
        assert client.text({**shown(), KWARGS: {}}) == answers["picture", "pruned"]
        assert client.text(shown(setting=None)) == answers["picture", "off"]
        assert client.text(shown(setting=SETTINGS["few"][0])) == answers["picture", "few"]
    with serve(vlm, Setting(budget=Budget.of("40%"))) as client:
        assert client.text(shown()) == answers["picture", "budget"]


def test_requests_at_once_are_never_mixed_up(client, answers):
    wanted = [(media, name) for media in ("picture", "text") for name in SETTINGS]
    random.Random(0).shuffle(wanted)
    bodies = [
        shown(media, setting=SETTINGS[name][0], stream=number % 2 == 0)
        for number, (media, name) in enumerate(wanted)
    ]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(client.text, bodies))
    assert got == [answers[key] for key in wanted]


def test_responses_are_answered_too(client, answers):
    picture = shown()["messages"][0]["content"][0]["image_url"]["url"]
    parts = [
        {"type": "input_image", "image_url": picture},
        {"type": "input_text", "text": QUESTION},
    ]
    body = {"input": [{"role": "user", "content": parts}], "max_output_tokens": LENGTH}
    body |= {KWARGS: {"foveate": SETTINGS["merged"][0]}}
    wanted, header = answers["picture", "merged"]
    status, headers, text = client.ask({**body, "stream": False}, RESPONSES)
    assert (status, headers["x-foveate-visual-tokens"]) == (200, header)
    assert json.loads(text)["output"][0]["content"][0]["text"] == wanted
    status, headers, text = client.ask(body, RESPONSES)  # streams where nothing is said
    assert (status, headers["x-foveate-visual-tokens"]) == (200, header)
    deltas = re.findall(r'"delta":"(.*?)"', text)
    assert "".join(deltas) == wanted


def test_a_clip_shows_the_frames_that_the_server_takes(client, vlm, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip(frames=12, side=64))
    wanted = vlm.ask(path, QUESTION, AIM(keep=0.25), max_new_tokens=LENGTH, frames=4).text
    url = {"url": f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"}
    body = shown(None, setting=SETTINGS["pruned"][0])
    body["messages"][0]["content"].insert(0, {"type": "video_url", "video_url": url})
    assert client.text(body)[0] == wanted


def test_text_alone_is_answered_whatever_is_asked_of_pictures(client):
    plain = client.text(shown(None))
    assert plain[1] is None
    for stream, name in enumerate(SETTINGS):
        body = shown(None, setting=SETTINGS[name][0], stream=bool(stream % 2))
        assert client.text(body) == plain


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"method": "aim", "keep": 0}, "keep must be"),
        ({"method": "aim", "prune": [3, 90]}, "90"),
        ({"budget": -1}, "a budget must be above 0"),
        ({"budget": "60 ms"}, "a budget in time needs machine="),
        ({"budget": "40% with encoder"}, "a budget with encoder is spent before"),
        ({"budget": "1 FLOP"}, "no plan fits"),  # known when the prompt is read
    ],
)
def test_what_cannot_be_done_is_a_400_with_one_sentence(client, setting, says, stream):
    status, headers, text = client.ask(shown(setting=setting, stream=stream))
    assert status == 400, text
    assert headers["content-type"] == "application/json"
    message = json.loads(text)["error"]["message"]
    assert says in message
    assert "\n" not in message


def test_what_the_server_itself_refuses(client):
    status, _, text = client.ask(shown(model="another"))
    assert status == 400
    assert "another" in text
    status, _, text = client.ask(shown(question="<image> what?"))
    assert status == 400
    assert "must not hold '<image>'" in text
    status, _, text = client.ask(shown(unheard_of=1))
    assert status == 422
    assert "unheard_of" in text


@pytest.mark.parametrize(
    ("name", "missed", "fine"),
    [
        ("n", 2, 1),
        ("logprobs", True, False),
        ("tool_choice", "none", "auto"),
        ("response_format", {"type": "json_object"}, {"type": "text"}),
        ("reasoning_effort", "high", None),
    ],
)
def test_no_field_that_changes_the_answer_is_left_unread(client, name, missed, fine):
    status, _, text = client.ask(shown(None, **{name: missed}))
    assert status == 400
    assert f"would leave {name} unread" in json.loads(text)["error"]["message"]
    assert client.text(shown(None, **{name: fine}, user="me", store=True))[0]


def test_a_response_that_goes_on_from_another_is_refused(client):
    status, _, text = client.ask({"input": "and then?", "previous_response_id": "r"}, RESPONSES)
    assert status == 400
    assert "previous_response_id" in text


def test_the_length_of_an_answer_is_read_or_refused_by_either_name(client):
    body = {"messages": shown(None)["messages"], "max_completion_tokens": LENGTH}
    status, _, text = client.ask(body)
    if status == 200:
        assert json.loads(text)["usage"]["completion_tokens"] == LENGTH
    else:  # transformers before 5.24
        assert (status, "max_completion_tokens unread" in text) == (400, True)


@pytest.mark.parametrize("path", ["/reset", "/load_model", "/v1/completions", "/v1/systemone"])
def test_other_routes_of_transformers_are_shut(client, path):
    assert client.send("POST", path, {"model": "mini"})[0] == 404
    assert client.text(shown(None))[0]  # the model is still there


def test_a_name_of_another_site_is_not_answered(client):
    for name, status in [
        ("evil.example:8000", 403),
        ("localhost:1", 200),
        ("[::1]", 200),
        ("[", 403),
    ]:
        assert Client(client.port, {"host": name}).send("GET", "/health")[0] == status


def test_the_model_is_listed_by_its_name(client):
    status, _, text = client.send("GET", "/v1/models")
    assert status == 200
    assert [model["id"] for model in json.loads(text)["data"]] == ["mini"]


def test_a_client_without_the_key_is_not_answered(vlm):
    with serve(vlm, key="s3cret") as client:
        for headers in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "s3cret"}):
            stranger = Client(client.port, headers)
            status, answered, text = stranger.ask(shown(None))
            assert (status, answered["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer KEY" in text
            assert stranger.send("GET", "/v1/models")[0] == 401
            assert stranger.send("GET", "/health")[0] == 200
        friend = Client(client.port, {"authorization": "Bearer s3cret"})
        assert friend.text(shown(None))[0]


def test_a_server_behind_a_prefix_does_what_is_asked(vlm):
    """As one that another application mounts."""

    async def asked():
        app = serving.served(vlm, "mini", Setting(), Sampling(), key="k")
        body = shown(setting={"method": "aim-merge", "keep": 0.25})
        headers = ((b"content-type", b"application/json"), (b"authorization", b"Bearer k"))
        answer = await post(app, body, f"/llm{CHAT}", root_path="/llm", headers=headers)
        health = await post(app, b"", "/llm/health", method="GET", root_path="/llm", headers=())
        return answer, health

    answer, health = asyncio.run(asked())
    assert answer.headers["x-foveate-visual-tokens"] == "before=300, after=75"
    assert health.status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_its_generation(vlm, stream):
    steps = []
    handle = vlm.model.register_forward_hook(lambda *_: steps.append(1))
    try:
        with serve(vlm) as client:
            vlm.model.generation_config.min_new_tokens = 3000
            line = HTTPConnection("127.0.0.1", client.port)
            body = json.dumps(shown(max_tokens=3000, stream=stream))
            line.request("POST", CHAT, body, client.headers)
            while len(steps) < 5:
                time.sleep(0.01)
            line.close()
            vlm.model.generation_config.min_new_tokens = LENGTH
            assert client.text(shown())[0]  # waits for its turn
            assert len(steps) < 2000
    finally:
        handle.remove()
        vlm.model.generation_config.min_new_tokens = LENGTH


MALFORMED = [
    b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"messages": NaN}', {}, {"messages": []},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": []}]}, shown(setting="x"), shown(setting=[]),
    shown(temperature="hot"), shown(seed={}), shown(tools=5), shown(stop=[[]]), shown(max_tokens="1"),
    shown(question="<image>"), shown(setting={"method": "aim", "keep": 1e999}), shown(logit_bias=5),
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    shown(messages=[{"role": "assistant", "content": None, "tool_calls": [{}]}]),
]  # fmt: skip


def resident():
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def mixed(client, answers, count, seed):
    """Send so many requests, a third of them malformed, eight at once.

    Returns:
        Whether each was refused if it was malformed, and got its own answer if not.
    """
    draw = random.Random(seed)

    def one(number):
        if number % 3 == 0:
            status, _, _ = client.ask(draw.choice(MALFORMED))
            return 400 <= status < 500
        key = draw.choice(list(answers))
        body = shown(key[0], setting=SETTINGS[key[1]][0], stream=draw.random() < 0.5)
        return client.text(body) == answers[key]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def is_healthy(client):
    """Whether the server answers."""
    status, _, text = client.send("GET", "/health")
    return (status, json.loads(text)) == (200, {"status": "ok"})


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_malformed_requests_among_others(client, answers, count):
    assert all(mixed(client, answers, count, seed=count))
    assert is_healthy(client)


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body)[:40])
def test_malformed_requests_are_refused(client, body):
    status, _, text = client.ask(body)
    assert 400 <= status < 500, text


@pytest.mark.filterwarnings("ignore:Unfeasible")  # lengths below the fixture's least
@pytest.mark.parametrize("every", [41, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("path", "body"), [(CHAT, FULL_CHAT), (RESPONSES, FULL_RESPONSE)])
def test_no_field_of_another_kind_is_the_servers_fault(client, path, body, every):
    """Every n-th of the bodies of `changed`."""
    assert client.ask(body, path)[0] == 200
    for wrong in list(changed(body))[::every]:
        status, _, text = client.ask(wrong, path)
        assert status in (200, 400, 422), (wrong, text)


def test_answers_stop_and_are_biased_as_is_asked(client):
    """What transformers' own server fails at."""
    plain, _ = client.text(shown())
    stop = plain[1:3]
    assert client.text(shown(stop=stop))[0] == plain[: plain.index(stop) + len(stop)]
    assert client.text(shown(stop=[], logit_bias={}, chat_template_kwargs=None))[0] == plain
    assert client.text(shown(logit_bias={"5": 100}))[0] != plain
    for more, says in (
        ({"logit_bias": {"99999": 1}}, "logit_bias of token 99999: there are"),
        ({"frequency_penalty": -2}, "above -1, got -2"),
    ):
        status, _, text = client.ask(shown(**more))
        assert (status, says in text) == (400, True)


def test_what_the_chat_template_refuses_is_a_400(client, vlm, monkeypatch):
    """Many want roles to alternate, or take only the tools that they know."""
    for template, says in (
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content[0].text.nothing.more }}", "has no attribute"),
        ("{{ messages | sum }}", "cannot take this request"),
    ):
        monkeypatch.setattr(vlm.processor, "chat_template", template)
        for stream in (False, True):
            status, _, text = client.ask(shown(stream=stream))
            assert status == 400, text
            assert says in json.loads(text)["error"]["message"]


@pytest.mark.slow
def test_memory_stays_flat(client, answers):
    assert all(mixed(client, answers, 100, seed=1))
    gc.collect()
    before = resident()
    assert all(mixed(client, answers, 300, seed=2))
    assert is_healthy(client)
    gc.collect()
    assert resident() - before < 30 * 2**20


def test_where_it_listens(vlm):
    for host in ("0.0.0.0", "::"):
        with pytest.raises(InputError, match="can be reached from other machines: give --api-key"):
            serving.listen(host, 0, None)
    serving.listen("0.0.0.0", 0, "key").close()
    line = serving.listen("127.0.0.1", 0, None)
    with pytest.raises(InputError, match="cannot listen on 127"):
        serving.listen("127.0.0.1", line.getsockname()[1], None)
    line.close()
    for host, port in (("no.such.host.invalid", 0), ("127.0.0.1", 99_999)):
        with pytest.raises(InputError, match="cannot listen on"):
            serving.listen(host, port, None)


def test_a_server_of_another_shape_is_refused_by_name(vlm, monkeypatch):
    from transformers.cli.serving import utils

    monkeypatch.delattr(utils.GenerationState, "get_manager")
    with pytest.raises(
        UnsupportedError,
        match=r"serving.utils.GenerationState.get_manager lacks itself.*5\.17 to",
    ):
        serving.served(vlm, "mini", Setting(), Sampling())


def test_without_the_extra(vlm, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(MissingExtraError, match=r"foveate\[serve\]"):
        serving.served(vlm, "mini", Setting(), Sampling())


def test_a_default_that_the_model_refuses_is_refused_at_the_start(vlm):
    for default in (Setting(AIM(prune=(3, 90))), Setting(budget=Budget.of("60 ms"))):
        with pytest.raises(InputError):
            serving.served(vlm, "mini", default, Sampling())
    serving.served(vlm, "mini", Setting(budget=Budget.of("60 ms")), Sampling(), machine="a100")
    with pytest.raises(InputError, match="not both"):
        Setting(AIM(), Budget.of(0.5))
    assert Setting(Reduction()).reduction.is_off


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--keep", "2"], "got 2"),
        (["--keep", ".5", "--budget", "25%"], "FLOPs beside foveate.AIM(keep=0.5"),
        (["--budget", "x"], "got 'x'"),
        (["--task", "auto"], "task must be one of reasoning, ocr"),
        (["--task", "ocr"], "task= and machine= are of a budget="),
        (["--host", "0.0.0.0"], "give --api-key"),
        (["--api-key", " "], "--api-key is empty"),
        (["--api-key", "key\t"], "has spaces around it"),
        (["--frames", "0"], "frames must be at least 1"),
    ],
)
def test_the_command_refuses_in_one_line(options, says):
    out = run("serve", "foveate-mini", "--port", "0", *options)
    assert out.returncode == 2
    assert says in out.stderr
    assert len(out.stderr.splitlines()) == 1


def test_a_newcomers_three_commands(tmp_path):
    """Those of the guide, in a shell, on a port that is free."""
    block = re.search(
        r"```bash\n(pip install .foveate\[serve.*?)```", GUIDE.read_text(), re.S
    ).group(1)
    install, started, *asked = block.strip().split("\n")
    assert install == 'pip install "foveate[serve]"'
    assert started.startswith("foveate serve foveate-mini ")
    line = serving.listen("127.0.0.1", 0, None)
    port = str(line.getsockname()[1])
    line.close()
    source = str(Path(foveate.__path__[0]).parent)
    environment = {**os.environ, "PYTHONPATH": source, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", *started.split(), "--port", port]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert (
            f"at http://127.0.0.1:{port}; foveate.FoveaMerge(keep=0.25)" in server.stderr.readline()
        )
        script = "\n".join(asked).replace(":8000", f":{port}")
        script = re.sub(r"\bpython\b", sys.executable, script)
        out = subprocess.run(
            ["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True
        )
    finally:
        server.terminate()
        server.wait(20)
    head, _, body = out.stdout.replace("\r", "").partition("\n\n")
    assert "x-foveate-visual-tokens: before=300, after=75" in head
    assert json.loads(body)["choices"][0]["message"]["content"]
