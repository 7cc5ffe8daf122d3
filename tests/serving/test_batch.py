"""Tables on Ray Data: rows come out as `vlm.ask` answers them, whatever is wrong with others or dies."""

import json
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import foveate
from command import run
from foveate import cli
from foveate.errors import FoveateError, InputError, MissingExtraError
from foveate.measure.run.engines.ray import init_arguments
from foveate.planner.budget import Budget
from foveate.serving.batch import answer_table, asking
from foveate.serving.batch.asking import Answered, answer_rows
from foveate.serving.batch.deaths import Attempts
from foveate.serving.batch.parts import Part, Parts
from foveate.serving.batch.settings import Settings, model_identity
from foveate.serving.batch.table import Table, stamp_of
from foveate.serving.batch.work import Worker, Workers

arrow = pytest.importorskip("pyarrow", reason="the extra `batch` is absent")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `batch` is absent")

PICTURE, TEXT = foveate.example(), foveate.example("text")
DIGITS, WRITTEN = "how many digits are there?", "what is written?"
NEW = list(Answered.__dataclass_fields__)
KEPT = foveate.AIM(keep=0.25)


@pytest.fixture(scope="module")
def vlm():
    return foveate.load("foveate-mini", device="cpu")


@pytest.fixture(scope="module")
def cluster():
    """Ray, started once: it takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra `batch` is absent")
    yield ray.init(**init_arguments(2))
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures and clips, good and bad."""
    made = tmp_path_factory.mktemp("media")
    shutil.copy(PICTURE, made / "good.png")
    shutil.copy(foveate.example("clip"), made / "clip.webp")
    (made / "cut.png").write_bytes(PICTURE.read_bytes()[:400])
    (made / "empty.png").write_bytes(b"")
    (made / "words.png").write_text("no picture")
    bomb = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", bomb), (b"IDAT", b"")]
    (made / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)))
    with av.open(str(made / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 160
        for number in range(12):
            pixels = np.full((160, 160, 3), 20 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return made


def chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write(path: Path, rows: list[dict], schema=None, group: int = 3) -> Path:
    parquet.write_table(arrow.Table.from_pylist(rows, schema), path, row_group_size=group)
    return path


def simple(path: Path, count: int) -> Path:
    """Questions that alternate, about pictures that do not."""
    rows = [
        {"image": TEXT.read_bytes() if n % 3 else PICTURE.read_bytes(),
         "question": DIGITS if n % 2 else WRITTEN, "id": f"row {n}"}
        for n in range(count)
    ]  # fmt: skip
    return write(path, rows)


def alone(vlm, media, question, *given, **knobs) -> dict:
    """What `vlm.ask` says of a row."""
    answer = vlm.ask(media, question, *given, **knobs)
    (sample,) = answer.report.samples
    layers = sample.visual_tokens_by_layer
    return {
        "answer": answer.text,
        "visual_tokens": sample.visual_tokens_in,
        "visual_tokens_kept": sum(layers) / len(layers),
        "flops_share": answer.report.totals.flops_share,
        "kv_share": answer.report.totals.kv_share,
    }


# a table is read


@pytest.mark.parametrize("group", [1, 4, 100])
def test_any_rows_are_read(tmp_path, group):
    rows = [{"image": {"bytes": b"x" * n, "path": None}, "question": str(n)} for n in range(50)]
    path = write(tmp_path / "a.parquet", rows, group=group)
    table, choose = Table(path), random.Random(group)
    for _ in range(60):
        start, count = choose.randrange(50), choose.randrange(1, 20)
        assert table.read(start, count).to_pylist() == rows[start : start + count], (start, count)
    few = Table(path, ["question"])
    assert few.read(40, 2).to_pylist() == [{"question": "40"}, {"question": "41"}]
    assert few.read(0, 1).to_pylist() == [{"question": "0"}]


def test_reading_on_does_not_begin_again(tmp_path, monkeypatch):
    table = Table(simple(tmp_path / "a.parquet", 12))
    opened, inner = [], table._open_group
    monkeypatch.setattr(table, "_open_group", lambda group: (opened.append(group), inner(group)))
    for start in (0, 1, 2, 5):
        table.read(start, 1)
    assert opened == []
    table.read(1, 1)
    assert opened == [0]


# rows are asked


def test_rows_are_answered_as_if_alone(vlm, folder):
    good, clip, film = folder / "good.png", folder / "clip.webp", folder / "clip.mp4"
    shown = [
        ({"image": "good.png"}, good),
        ({"image": {"bytes": None, "path": str(TEXT)}}, TEXT),
        ({"video": "clip.webp"}, clip),
        ({"image": {"bytes": PICTURE.read_bytes(), "path": "gone.png"}}, PICTURE),
        ({"video": {"bytes": film.read_bytes(), "path": None}}, film),
        ({"images": ["good.png", TEXT.read_bytes()]}, [good, TEXT]),
        ({"video": "clip.webp"}, clip),
        ({"image": "good.png", "images": [], "video": None}, good),
    ]
    questions = [DIGITS, WRITTEN, "what happens?", "what is it?"]
    rows = [row | {"question": questions[n % 4]} for n, (row, _) in enumerate(shown)]
    cases = [
        (Settings(reduction=KEPT, batch=2), {"reduction": KEPT}),
        (Settings(reduction=foveate.Fovea(keep=0.5), batch=3), {"reduction": foveate.Fovea(0.5)}),
        (Settings(budget=Budget.of("40%")), {"budget": "40%"}),
        (Settings(frames=12, batch=16), {"frames": 12}),
    ]
    for settings, knobs in cases:
        for (_, media), row, found in zip(
            shown, rows, answer_rows(vlm, rows, settings, folder), strict=True
        ):
            wanted = alone(vlm, media, row["question"], **knobs)
            got = asdict(found)
            assert got["error"] is None
            flops = wanted.pop("flops_share")  # scoring sees a batch's padding, too
            assert got["flops_share"] == pytest.approx(
                flops, rel=0 if settings.at_once == 1 else 2e-3
            )
            assert {name: got[name] for name in wanted} == wanted
            assert got["kept_share"] == got["visual_tokens_kept"] / got["visual_tokens"]


BAD = [
    ({"image": "gone.png"}, "no such picture or video file"),
    ({"image": "cut.png"}, "cut.png as a picture: image file is truncated"),
    ({"image": "empty.png"}, "empty.png is empty"),
    ({"image": "words.png"}, "cannot read .*words.png as a picture"),
    ({"image": "bomb.png"}, "bomb.png is (too large|60000 x 60000 pixels)"),
    ({"image": "nul\0.png"}, "no such picture or video file"),
    ({"image": 3}, "int"),
    ({"image": {"url": "x"}}, "needs the field bytes or path, got url"),
    ({"image": {"bytes": None, "path": None}}, "both are null"),
    ({"image": None}, "shows nothing"),
    ({"images": []}, "shows nothing"),
    ({"images": "good.png"}, "images must be a list of pictures, got str"),
    ({"images": ["good.png", "gone.png"]}, "no such picture or video file"),
    ({"video": PICTURE.read_bytes()[:200]}, "the file as a picture"),
    ({"image": "good.png", "question": " "}, "the question is empty"),
    ({"image": "good.png", "question": None}, "the question is empty"),
    ({"image": "good.png", "question": 7}, "the question must be text, got int"),
    ({"image": "good.png", "question": "<image>?"}, "<image>"),
]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_bad_row_is_an_error_and_the_others_are_answered(vlm, folder, untyped, batch):
    good = {"image": "good.png", "question": DIGITS}
    rows = [row for bad, _ in BAD for row in (good, {"question": DIGITS} | bad)]
    found = answer_rows(vlm, rows, Settings(batch=batch), folder)
    assert {row.answer for row in found[::2]} == {vlm.ask(PICTURE, DIGITS).text}
    assert {row.error for row in found[::2]} == {None}
    for (bad, why), row in zip(BAD, found[1::2], strict=True):
        assert row == Answered(error=row.error), bad
        assert row.error is not None
        assert re.search(why, row.error), row.error
        assert "\n" not in row.error


def test_prompts_of_many_shapes_are_not_all_in_memory_at_once(vlm, monkeypatch, tmp_path):
    held, most, inner = 0, [], type(vlm).pictures

    def pictures(self, *given):
        nonlocal held
        held += 1
        most.append(held)
        return inner(self, *given)

    def asked(vlm, shown, settings):
        nonlocal held
        held -= len(shown)
        return [Answered(str(len(pictures))) for pictures, _ in shown]

    monkeypatch.setattr(type(vlm), "pictures", pictures)
    monkeypatch.setattr(asking, "_asked", asked)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [{"question": "?", "images": ["a.png"] * (1 + number % 20)} for number in range(50)]
    found = answer_rows(vlm, rows, Settings(batch=2), tmp_path)
    assert [int(row.answer or 0) for row in found] == [len(row["images"]) for row in rows]
    assert max(most) == 8


def test_what_fails_in_the_model_fails_alone(vlm, folder, monkeypatch):
    """Of a batch that the model cannot answer each row is asked alone."""
    asked = []

    def ask(self, media, question, *given, **knobs):
        asked.append(question)
        if question == "2":
            raise RuntimeError("out of\nmemory")
        return inner(self, media, question, *given, **knobs)

    inner = type(vlm).ask
    monkeypatch.setattr(type(vlm), "ask", ask)
    monkeypatch.setattr("foveate.serving.batch.asking.answer", lambda *given: 1 / 0)
    rows = [{"image": "good.png", "question": str(number)} for number in range(4)]
    found = answer_rows(vlm, rows, Settings(), folder)
    assert asked == ["0", "1", "2", "3"]
    assert [row.error for row in found] == [None, None, "RuntimeError: out of memory", None]


# a worker that dies


class Death(BaseException):
    """Nothing catches it, as nothing survives a kill."""


def test_a_row_that_kills_its_worker_is_left_out(vlm, tmp_path, monkeypatch):
    source = simple(tmp_path / "a.parquet", 6)
    parquet.write_table(
        parquet.read_table(source).set_column(1, "question", [["0", "1", "2", "3", "4", "5"]]),
        source,
    )

    def batch(self, prompts):
        if any(question == "3" for _, question in prompts):
            raise Death
        return inner(self, prompts)

    inner = type(vlm).batch
    monkeypatch.setattr(type(vlm), "batch", batch)
    monkeypatch.setattr(Worker, "vlm", vlm)
    part = Part(0, 6, tmp_path / "0-key.parquet")
    given = {name: [value] for name, value in asdict(part).items()}
    asked = (source, stamp_of(source), Settings(batch=2), Workers())
    for _ in range(3):
        with pytest.raises(Death):
            Worker(*asked, "run")(given)
    told = Worker(*asked, "run")(given)
    assert told == {"rows": [6], "errors": [1], "refused": [""]}
    errors = part.read().column("error").to_pylist()
    assert [error is None for error in errors] == [True, True, True, False, True, True]
    assert "the worker died while it answered this row" in errors[3]
    with pytest.raises(Death):  # another run begins anew
        Worker(*asked, "other")(given)


def test_a_table_that_changes_meanwhile_is_never_answered_in_part(vlm, tmp_path, monkeypatch):
    source = simple(tmp_path / "a.parquet", 2)
    table, part = Table(source), Part(0, 2, tmp_path / "0-key.parquet")
    monkeypatch.setattr(Worker, "vlm", vlm)
    given = {name: [value] for name, value in asdict(part).items()}
    worker = Worker(source, table.stamp, Settings(max_new_tokens=1), Workers(), "run")
    simple(tmp_path / "b.parquet", 3).rename(source)
    (refused,) = worker(given)["refused"]
    assert "a.parquet was changed while it was answered" in refused
    assert part.read() is None

    parts = Parts(tmp_path / "out.parquet", {})
    with parts.opened(overwrite=False), pytest.raises(InputError, match="was changed"):
        parts.join(table, [], "")
    assert not parts.out.exists()


def test_deaths_that_no_row_has_done(tmp_path):
    for _ in range(2):
        assert not Attempts(tmp_path / "part.run").one_by_one
    third = Attempts(tmp_path / "part.run")
    assert third.one_by_one
    assert list(third.noted(range(4))) == [0, 1, 2, 3]
    assert third.deadly == set()
    assert Attempts(tmp_path / "part.run").deadly == {3}


# what is refused at once


def test_tables_that_cannot_be_asked(tmp_path):
    picture = {"image": PICTURE.read_bytes()}
    good = simple(tmp_path / "good.parquet", 2)
    (tmp_path / "words.parquet").write_text("no table")
    again = tmp_path / ".." / tmp_path.name / "good.parquet"
    double = arrow.Table.from_arrays([["a.png"], ["?"], ["!"]], ["image", "question", "question"])
    parquet.write_table(double, tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="has the column question more than once"):
        answer_table(tmp_path / "bad.parquet", tmp_path / "out.parquet")
    for rows, message in (
        ([{"picture": "a.png", "question": "?"}], "needs the column question and at least one of"),
        ([picture], "has image$"),
        (
            [picture | {"question": "?", "answer": "a", "error": "b"}],
            "the column answer, error alr",
        ),
    ):
        path = write(tmp_path / "bad.parquet", rows)
        with pytest.raises(InputError, match=message):
            answer_table(path, tmp_path / "out.parquet")
    for knobs, message in (
        ({"source": tmp_path / "gone.parquet"}, "cannot read .*gone.parquet as a parquet file"),
        ({"source": tmp_path / "words.parquet"}, "cannot read .*words.parquet as a parquet file"),
        ({"out": good}, "the output must be another file in an existing folder"),
        ({"out": again, "overwrite": True}, "the output must be another file"),
        ({"out": Path("/proc/out.parquet")}, "cannot write /proc/out.parquet, nor its parts"),
        ({"out": tmp_path / "no" / "out.parquet"}, "must be another file in an existing folder"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"part": 0}, "part must be at least 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"task": "ocr"}, "of a budget="),
        ({"budget": "40%", "reduction": KEPT}, "give a reduction or a budget, not both"),
    ):
        given = {"source": good, "out": tmp_path / "out.parquet"} | knobs
        with pytest.raises(InputError, match=message):
            answer_table(**given)
    for knobs, message in (
        ({"count": 0}, "workers must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"gpus": 0}, "gpus_per_worker must be above 0"),
    ):
        with pytest.raises(InputError, match=message):
            Workers(**knobs)
    assert {path.name for path in tmp_path.iterdir()} == {
        "good.parquet", "bad.parquet", "words.parquet",
    }  # fmt: skip


@pytest.mark.parametrize("absent", ["pyarrow", "ray.data"])
def test_without_the_extra(tmp_path, monkeypatch, absent):
    path = simple(tmp_path / "a.parquet", 1)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError, match=r'pip install "foveate\[batch\]"'):
        answer_table(path, tmp_path / "out.parquet")


def test_a_model_that_is_not_there(monkeypatch):
    def nothing(name):
        raise OSError(f"{name} is not on the hub")

    monkeypatch.setattr("foveate.serving.batch.settings.AutoConfig.from_pretrained", nothing)
    with pytest.raises(InputError, match="vision-language model from 'none': none is not on the"):
        Settings("none").identity()


def test_another_model_of_the_same_name_is_another(tmp_path):
    shutil.copytree(Path(foveate.__path__[0]) / "assets" / "foveate-mini", tmp_path / "model")
    name = str(tmp_path / "model")
    before = model_identity(name)
    assert model_identity(name) == before
    (weights,) = (tmp_path / "model").glob("*.safetensors")
    contents = bytearray(weights.read_bytes())
    contents[-1] ^= 1
    weights.write_bytes(contents)
    assert model_identity(name) != before
    assert model_identity("foveate-mini")["files"] == before["files"]


def test_the_command_has_the_defaults_of_what_it_calls():
    command = signature(cli.batch.batch).parameters
    told = {
        name: getattr(found.default, "default", found.default) for name, found in command.items()
    }
    settings, workers = vars(Settings()), vars(Workers())
    shared = settings.keys() & told.keys()
    assert len(shared) == 9
    assert {name: told[name] for name in shared} == {name: settings[name] for name in shared}
    assert {told[name] for name in ("workers", "device", "threads")} == {None}
    assert {workers[name] for name in ("count", "device", "threads")} == {None}
    assert told["gpus_per_worker"] == workers["gpus"] == 1


# whole runs


COUNT = 40
OPTIONS = ["--keep", "0.25", "--part", "2", "--batch", "2", "--device", "cpu"]
SAME = {"reduction": KEPT, "part": 2, "batch": 2, "workers": Workers(device="cpu")}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return simple(tmp_path_factory.mktemp("asked") / "in.parquet", COUNT)


@pytest.fixture(scope="module")
def whole(asked, cluster):
    """What a run that nothing disturbs writes."""
    out = asked.with_name("whole.parquet")
    answer_table(asked, out, **SAME)
    return out.read_bytes()


def test_a_table_comes_back_with_answers(tmp_path, folder, vlm, cluster):
    datasets = pytest.importorskip("datasets", reason="the extra `train` is absent")
    bytes_of = {"bytes": PICTURE.read_bytes(), "path": None}
    rows = [
        {"id": n, "image": bytes_of if n % 2 else {"bytes": None, "path": str(folder / "cut.png")},
         "question": DIGITS, "tags": [n, None], "none": None}
        for n in range(11)
    ]  # fmt: skip
    features = datasets.Features(
        {
            "id": datasets.Value("int16"),
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "tags": datasets.List(datasets.Value("float32")),
            "none": datasets.Value("string"),
        }
    )
    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    source = arrow.Table.from_pylist(rows, features.arrow_schema)
    parquet.write_table(source, path, row_group_size=4)
    command = ["batch", str(path), str(out), "--keep", "0.25", "--device", "cpu"]
    done = run(*command, "--part", "3", "--workers", "2", "--prefix", "our_", "--json")
    assert done.returncode == 0, done.stderr

    made = parquet.read_table(out)
    assert made.column_names == [*source.column_names, *(f"our_{name}" for name in NEW)]
    assert made.select(source.column_names).equals(source)
    answers = made.select([f"our_{name}" for name in NEW]).rename_columns(NEW).to_pylist()
    wanted = alone(vlm, PICTURE, DIGITS, KEPT)
    assert [row["error"] is None for row in answers] == [bool(n % 2) for n in range(11)]
    assert {row["answer"] for row in answers[1::2]} == {wanted["answer"]}
    assert {row["visual_tokens_kept"] for row in answers[1::2]} == {wanted["visual_tokens_kept"]}
    assert json.loads(done.stdout) == {
        "out": str(out), "rows": 11, "errors": 6, "visual_tokens": 5 * wanted["visual_tokens"],
        "visual_tokens_kept": 5 * wanted["visual_tokens_kept"],
    }  # fmt: skip
    assert "11 rows, 6 of them errors; 1,500 visual tokens, 258 kept (17%)" in done.stderr
    assert "answering, 6 errors" in done.stderr
    assert "11/11" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.parquet"}
    loaded = datasets.Dataset.from_parquet(str(out), cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded[1]["image"], Image.Image)

    again = run(*command)
    assert again.returncode == 2
    assert "out.parquet exists; --overwrite" in again.stderr
    assert "must be a file (.parquet)" in run("batch", str(path), "out.csv").stderr


def test_answers_are_in_the_order_of_the_rows(vlm, whole):
    made = parquet.read_table(arrow.BufferReader(whole)).to_pylist()
    for row in made:
        number = int(row["id"].removeprefix("row "))
        picture = TEXT if number % 3 else PICTURE
        assert row["question"] == (DIGITS if number % 2 else WRITTEN)
        if number < 6:  # they repeat
            assert row["answer"] == vlm.ask(picture, row["question"], KEPT).text
        assert row["answer"] == made[number % 6]["answer"]
    assert [row["id"] for row in made] == [f"row {number}" for number in range(COUNT)]
    assert len({row["answer"] for row in made}) > 1


class StoppedError(Exception):
    """The run ends here."""


def test_a_run_that_ended_early_is_gone_on_with(asked, whole, tmp_path):
    out, seen = tmp_path / "out.parquet", []

    def stop(done: int, rows: int, errors: int) -> None:
        if done:
            raise StoppedError

    def watch(done: int, rows: int, errors: int) -> None:
        if not seen:  # nothing is done yet but what was
            assert done == 2 * len(times)
            assert {path: path.stat().st_mtime_ns for path in times} == times
        seen.append((done, rows, errors))

    with pytest.raises(StoppedError):
        answer_table(asked, out, progress=stop, **SAME)
    parts = tmp_path / "out.parquet.parts"
    times = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 1 <= len(times) < COUNT // 2
    assert not out.exists()

    other = simple(tmp_path / "other.parquet", 9)
    for change, message in (
        ({"reduction": foveate.AIM(keep=0.5)}, r'reduction is .*"keep": 0.5.*, was .*"keep": 0.25'),
        ({"reduction": None}, "reduction is null, was"),
        ({"batch": 3}, "batch is 3, was 2"),
        ({"part": 3}, "part is 3, was 2"),
        ({"max_new_tokens": 5}, "max_new_tokens is 5, was 32"),
        ({"prefix": "a"}, 'prefix is "a", was ""'),
        ({"source": other}, 'table is {"rows": 9.*, was {"rows": 40'),
    ):
        with pytest.raises(InputError, match=f"parts of another run: {message}"):
            answer_table(**{"source": asked, "out": out} | SAME | change)

    summary = answer_table(asked, out, progress=watch, **SAME)
    assert seen == [(done, COUNT, 0) for done in range(2 * len(times), COUNT + 1, 2)]
    assert (summary.rows, summary.errors) == (COUNT, 0)
    assert out.read_bytes() == whole
    assert not parts.exists()


def test_settings_of_a_run_that_are_none(asked, tmp_path):
    parts = tmp_path / "out.parquet.parts"
    parts.mkdir()
    (parts / "settings.json").write_text("[1]")
    with pytest.raises(InputError, match=r"settings.json must hold one object.*got \[1\]: start"):
        answer_table(asked, tmp_path / "out.parquet", **SAME)


def test_an_output_that_exists(asked, whole, tmp_path):
    out, parts = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    out.write_bytes(whole)
    with pytest.raises(InputError, match=r"out.parquet exists; --overwrite"):
        answer_table(asked, out, **SAME)

    # killed when the output was there, before all parts were removed
    parts.mkdir()
    (parts / "lock").touch()
    assert answer_table(asked, out, **SAME).rows == COUNT
    assert out.read_bytes() == whole
    assert not parts.exists()

    parts.mkdir()
    (parts / "settings.json").write_text("{}")
    (parts / "000000000-other.parquet").touch()
    impossible = SAME | {"reduction": foveate.AIM(prune=(50, 60))}
    with pytest.raises(FoveateError, match="layers"):  # told at once, not in every row
        answer_table(asked, out, overwrite=True, **impossible)
    assert out.read_bytes() == whole
    assert not list(parts.glob("*.parquet"))


def started(source: Path, out: Path) -> subprocess.Popen:
    code = "from foveate.cli import main; main()"
    command = [sys.executable, "-c", code, "batch", str(source), str(out), *OPTIONS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_killed_run_is_gone_on_with(asked, whole, tmp_path):
    out, parts = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    running = started(asked, out)
    while not list(parts.glob("*.parquet")):
        assert running.poll() is None
        time.sleep(0.01)
    with pytest.raises(InputError, match="another process is writing"):
        answer_table(asked, out, **SAME)
    running.kill()
    running.wait()
    kept = [path.name for path in parts.glob("*.parquet")]
    assert 1 <= len(kept) < COUNT // 2
    assert not out.exists()
    out.write_text("an older one")
    seen = []
    answer_table(asked, out, overwrite=True, progress=lambda done, *told: seen.append(done), **SAME)
    assert seen[0] >= 2 * len(kept)  # a part may have been finished meanwhile
    assert out.read_bytes() == whole


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again(asked, whole, tmp_path):
    out, choose = tmp_path / "out.parquet", random.Random()
    for _ in range(6):
        running = started(asked, out)
        time.sleep(choose.uniform(5, 30))
        running.kill()
        if running.wait() == 0:
            break
    if not out.exists():
        assert started(asked, out).wait() == 0
    assert out.read_bytes() == whole
