import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch

import foveate
from command import run
from foveate.ask.media import Sampling
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import InputError, UnsupportedError
from foveate.keep import check_keep, kept_count
from foveate.measure.run.answering import answer, encoding_flops, taken
from foveate.measure.run.engines.local import Local
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import UNREDUCED_SETTING, Setting, setting_at, settings
from foveate.measure.tasks import task
from foveate.models.compressed import CompressedProcessor, with_compressor
from foveate.models.compressed.question import QuestionCache
from foveate.models.family import families
from foveate.planner.measured import read_measured
from foveate.records.journal import UNREDUCED
from foveate.records.summary import summarise
from foveate.reduction import Reduction
from foveate.registry import Method
from foveate.tokens import VisionTokens


@dataclass(frozen=True)
class First:
    """The first tokens of every group."""

    keep: float = 0.5
    needs: tuple[str, ...] = ()
    at: str = "llm"
    is_off: bool = False

    def __call__(self, features):
        count = kept_count(self.keep, features.shape[1])
        return VisionTokens.of(features).take(torch.arange(count).expand(len(features), -1))

    def flops(self, tokens, width):
        return 0

    @classmethod
    def for_share(cls, share, layers):
        check_keep(share)
        if share < 0.1:
            raise InputError(f"the first tokens are at least a tenth, got {share}")
        return cls(share)


@dataclass(frozen=True)
class Fails(First):
    """A method that a family cannot have."""

    def __call__(self, features):
        raise UnsupportedError("not on this family")


FIRST = Method("first", "before", First, role="baseline")
TINY = Amount(samples=4, batch=3, timed=1, rounds=2)


@pytest.fixture(scope="module")
def vlm():
    return foveate.load("foveate-mini")


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(path) -> dict:
    """What was answered, by cell and question; each once."""
    rows = [row for row in lines(path) if row["kind"] == "answer"]
    found = {(row["task"], row["method"], row["budget"], row["index"]): row for row in rows}
    assert len(found) == len(rows), "a question was answered twice"
    return found


def test_settings():
    made = settings(["aim", "aim"], [0.5, 0.25], 8)
    assert made[0] is UNREDUCED_SETTING
    assert [setting.key for setting in made[1:]] == [("aim", 0.5), ("aim", 0.25)]
    assert all(isinstance(setting.reduction, foveate.AIM) for setting in made[1:])
    usual = {name for name, row in foveate.methods().items() if row.stage != "encode"}
    assert {setting.method for setting in settings(["all"], [0.5], 8)} > usual
    first = setting_at(FIRST, 0.25, 8)
    assert first.reduction == Reduction(before=First(0.25))
    assert setting_at(FIRST, 0.05, 8).refused == "the first tokens are at least a tenth, got 0.05"
    no_share = setting_at(Method("x", "inside", lambda: None), 0.5, 8)
    assert "neither `for_share` nor `keep`" in no_share.refused
    for bad, message in ((1.0, "leave it out"), (0, "got 0"), (1.5, "got 1.5")):
        with pytest.raises(InputError, match=message):
            settings(["aim"], [bad], 8)


def test_settings_in_the_encoder():
    half, third = foveate.ToMeEncoder(), foveate.ToMeEncoder(0.35)
    names = ["tome-encoder", "tome-encoder:.35", "tome-encoder+aim", "tome-encoder:0.350+fastv"]
    made = {setting.key: setting for setting in settings(names, [0.5, 0.1], 28)}
    assert list(made) == [
        ("unreduced", 1.0),
        ("tome-encoder", 1.0),  # the LLM is left all visual tokens
        ("tome-encoder:0.35", 1.0),
        ("tome-encoder+aim", 0.5),
        ("tome-encoder+aim", 0.1),
        ("tome-encoder:0.35+fastv", 0.5),
        ("tome-encoder:0.35+fastv", 0.1),
    ]
    assert made["tome-encoder", 1.0].reduction == Reduction(encode=half)
    aim = foveate.AIM.for_share(0.5, 28)
    assert made["tome-encoder+aim", 0.5].reduction == aim.encoded_by(half)
    assert made["tome-encoder:0.35+fastv", 0.5].reduction.encode == third
    few = settings(["tome-encoder+fastv"], [0.01], 28)[1]
    assert few.reduction is None
    assert few.refused == setting_at(foveate.methods()["fastv"], 0.01, 28).refused
    assert all(setting.is_in(json.loads(json.dumps(setting.record()))) for setting in made.values())
    for bad, message in (
        ("aim+tome-encoder", r"take one method in the encoder \(.*tome-encoder.*got 'aim\+tome"),
        ("tome-encoder+tome-encoder", "one method in the encoder"),
        ("aim:0.5", "one method in the encoder"),
        ("tome-encoder:half", "METHOD:KEEP takes a share"),
        ("tome-encoder:2", "keep"),
        ("tome-encoder+", "unknown method ''"),
        ("tome-encoder+aim+fastv", r"unknown method 'aim\+fastv'"),
    ):
        with pytest.raises(InputError, match=message):
            settings([bad], [0.5], 8)


def test_the_encoder_is_measured_and_planned_by(vlm, tmp_path):
    out, few = tmp_path / "run.jsonl", Amount(samples=2, timed=1, rounds=1, first=7)
    chosen = settings(["tome-encoder", "tome-encoder+aim", "aim"], [0.25], 8)
    Runner(Local(vlm, "foveate-mini"), chosen, [task("reasoning")], out, few).run()
    assert {index for _, _, _, index in answers(out)} == {7, 8}
    rows = {row.method: row for row in summarise(out).by_task["reasoning"]}
    alone, both, aim = (rows[name] for name in ("tome-encoder", "tome-encoder+aim", "aim"))
    assert alone.llm_share == 1.0 > alone.flops_share > aim.flops_share > both.flops_share
    assert both.llm_share == aim.llm_share
    assert all(row.first_token_ms > 0 and row.speedup > 0 for row in rows.values())
    found = [row for row in read_measured(out, vlm) if row.task == "reasoning"]
    request = Request.of(vlm.model.config, Media(), 10)
    costs = {row.method: row.cost(request).flops for row in found}
    assert costs["tome-encoder+aim"] < costs["aim"] < costs["unreduced"]


def test_questions_from_a_number_on(vlm, tmp_path):
    asking = Amount(samples=3, first=2)
    assert asking.of(task("ocr")) == range(2, 5)
    limited = task("ocr")
    limited.size = 4
    assert asking.of(limited) == range(2, 4)
    limited.size = 2
    with pytest.raises(InputError, match="ocr has 2 questions, none from number 2 on"):
        asking.of(limited)
    with pytest.raises(InputError, match="first must be at least 0, got -1"):
        Amount(first=-1)


def test_a_run_and_its_lines(vlm, tmp_path, caplog):
    out = tmp_path / "run.jsonl"
    fails = Setting("fails", 0.5, Reduction(before=Fails()))
    chosen = [UNREDUCED_SETTING, setting_at(FIRST, 0.25, 8), setting_at(FIRST, 0.05, 8), fails]
    seen = []
    runner = Runner(Local(vlm, "mini"), chosen, [task("reasoning"), task("video")], out, TINY)
    with caplog.at_level(logging.INFO, "foveate.measure"):
        runner.run(lambda done, what: seen.append((done, what)))
    told = {record.getMessage() for record in caplog.records}
    assert len(told) == 2 + 2 * 4
    assert "refused: video: first at 0.05: the first tokens are at least a tenth, got 0.05" in told
    assert "refused: video: fails at 0.5, question 3: not on this family" in told
    counts = {(row["task"], row["method"], row["budget"]): row for row in runner.log.cells()}
    told = ("answers", "rounds", "unanswerable", "refused")
    for name in ("reasoning", "video"):
        cells = {
            key[1:]: tuple(counts[key][part] for part in told) for key in counts if key[0] == name
        }
        assert cells == {
            (UNREDUCED, 1.0): (4, 2, 0, False),
            ("first", 0.25): (4, 2, 0, False),
            ("first", 0.05): (0, 0, 0, True),
            ("fails", 0.5): (0, 0, 4, True),
        }
    assert seen[-1] == (runner.total, "video: timing")
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    found = answers(out)
    assert Counter(key[:3] for key in found) == {
        (name, *setting): 4
        for name in ("reasoning", "video")
        for setting in ((UNREDUCED, 1.0), ("first", 0.25))
    }
    assert {(r["task"], r["method"], r["why"]) for r in lines(out) if r["kind"] == "refused"} == {
        (name, *rest)
        for name in ("reasoning", "video")
        for rest in (("first", "the first tokens are at least a tenth, got 0.05"),
                     ("fails", "not on this family"))
    }  # fmt: skip
    rounds = Counter(
        (row["task"], row["method"], row["round"]) for row in lines(out) if row["kind"] == "time"
    )
    assert set(rounds.values()) == {1}
    assert {number for *_, number in rounds} == {0, 1}
    for (name, method, _, index), row in found.items():
        item = task(name).item(index)
        reduction = Reduction() if method == UNREDUCED else Reduction(before=First(0.25))
        inputs = vlm.batch([(item.media, item.question)])  # alone
        (said,), (length,), report = answer(vlm, inputs, reduction, 12)
        assert (row["said"], row["answer_tokens"]) == (said, length)
        assert row["score"] == float(said == item.answers[0])
        assert row["kv_bytes"] == report.kv_bytes
        assert row["kv_bytes_unreduced"] == report.kv_bytes_unreduced
        assert row["llm_flops"] == report.prefill_flops
        assert row["llm_flops_unreduced"] == report.prefill_flops_unreduced
        assert row["visual_tokens_in"] == report.visual_tokens_in[0]
        assert row["visual_tokens_to_llm"] == report.visual_tokens_to_llm[0]
        assert row["flops"] > row["llm_flops"] + encoding_flops(
            vlm, item.media, row["visual_tokens_in"]
        )


def test_a_run_goes_on_where_it_was(vlm, tmp_path):
    out = tmp_path / "run.jsonl"
    chosen = [UNREDUCED_SETTING, setting_at(FIRST, 0.25, 8)]
    Runner(Local(vlm, "mini"), chosen, [task("ocr")], out, TINY).run()
    before = lines(out)
    seen = []
    again = Runner(Local(vlm, "mini"), chosen, [task("ocr")], out, TINY)
    again.run(lambda done, what: seen.append(done))
    assert seen[-1] == again.total
    assert [row["kind"] for row in lines(out)[len(before) :]] == ["run"]
    more = [*chosen, setting_at(FIRST, 0.5, 8)]
    Runner(Local(vlm, "mini"), more, [task("ocr")], out, Amount(6, 3, 1, 2)).run()
    added = lines(out)[len(before) + 1 :]
    counts = Counter((row["kind"], row.get("method"), row.get("budget")) for row in added)
    assert counts["answer", UNREDUCED, 1.0] == counts["answer", "first", 0.25] == 2
    assert counts["answer", "first", 0.5] == 6
    # what is timed later is timed beside the unreduced model
    assert {(r["method"], r["budget"], r["round"]) for r in added if r["kind"] == "time"} == {
        (*setting, number) for setting in ((UNREDUCED, 1.0), ("first", 0.5)) for number in (2, 3)
    }
    answers(out)


def test_a_file_belongs_to_one_model_its_questions_and_knobs(vlm, tmp_path):
    out = tmp_path / "run.jsonl"
    chosen = [UNREDUCED_SETTING, setting_at(FIRST, 0.25, 8)]
    Runner(Local(vlm, "mini"), chosen, [task("ocr")], out)
    other = Setting("first", 0.25, Reduction(before=First(0.3)))
    with pytest.raises(InputError, match=r"measured first at 0.25 as .*keep=0.25.* give another"):
        Runner(Local(vlm, "mini"), [UNREDUCED_SETTING, other], [task("ocr")], out)
    from foveate.measure.tasks.scenes import Scenes

    with pytest.raises(InputError, match=r"'split': 'test'.*'split': 'val'"):
        Runner(Local(vlm, "mini"), chosen, [Scenes("ocr", "val")], out)
    with pytest.raises(InputError, match="different names"):
        Runner(Local(vlm, "mini"), chosen, [task("ocr")] * 2, out)
    text = out.read_text()
    out.write_text(text.replace('"weights": "', '"weights": "x'))
    with pytest.raises(InputError, match="holds records of mini"):
        Runner(Local(vlm, "mini"), chosen, [task("ocr")], out)
    with pytest.raises(InputError, match="rounds must be at least 0, got -1"):
        Amount(rounds=-1)


def test_a_setting_is_written_down_whole():
    for setting in settings(["all"], [0.5, 0.1], 28):
        row = json.loads(json.dumps(setting.record()))
        smaller = setting.smaller is not None
        assert (row["reduction"] is None) == (smaller or setting.reduction is None)
        if row["reduction"] is not None:
            assert Reduction.from_dict(row["reduction"]) == setting.reduction
        assert setting.is_in(row)
    first = setting_at(FIRST, 0.25, 8)  # which is not registered
    assert first.record()["reduction"] is None
    assert first.is_in(first.record())


def without_reductions(path) -> None:
    """Make a file one from before its lines held reductions."""
    rows = lines(path)
    for row in rows:
        row.pop("reduction", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("old", [False, True])
def test_a_file_goes_on_with_the_same_reduction_alone(vlm, tmp_path, old):
    out, few = tmp_path / "run.jsonl", Amount(1, rounds=0)
    aim = Setting("aim", 0.5, foveate.AIM(0.5, (4, 6)))
    chosen = [UNREDUCED_SETTING, aim]
    Runner(Local(vlm, "mini"), chosen, [task("ocr")], out, few).run()
    if old:
        without_reductions(out)
    before = lines(out)
    assert [row.get("reduction") for row in before if row["kind"] == "setting"] == (
        [None] * 2 if old else [setting.reduction.to_dict() for setting in chosen]
    )
    Runner(Local(vlm, "mini"), chosen, [task("ocr")], out, few).run()
    assert [row["kind"] for row in lines(out)[len(before) :]] == ["run"]
    text = out.read_text()
    for other in (
        foveate.AIM(0.5, (4, 7)),
        foveate.AIM(0.5),
        Reduction(before=aim.reduction.before),
    ):
        changed = [UNREDUCED_SETTING, replace(aim, reduction=other)]
        with pytest.raises(InputError, match=r"aim at 0.5 as AIM\(.*\(4, 6\).*give another --out"):
            Runner(Local(vlm, "mini"), changed, [task("ocr")], out, few)
    assert out.read_text() == text


def test_a_reduction_is_compared_by_what_it_is_not_by_its_text():
    aim = Setting("aim", 0.5, foveate.AIM(0.5))
    row = aim.record()
    assert aim.is_in(row | {"knobs": "AIM(keep=0.5, ...)"})
    row["reduction"].pop("weighted")  # of a version that had no such knob
    assert aim.is_in(row)
    assert not aim.is_in(row | {"reduction": {"method": "aim", "keep": 0.25}})
    assert not aim.is_in(row | {"reduction": {"method": "aim", "gone": 1}})


def test_a_file_belongs_to_one_sampling_of_clips(vlm, tmp_path):
    from PIL import Image

    frames = [Image.new("RGB", (96, 96), (40 * n, 0, 0)) for n in range(6)]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:], duration=100)
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"video": "c.gif", "question": "Which colour?", "answer": "red"}\n' * 4)
    out, tasks = tmp_path / "run.jsonl", [task(str(mine)), task("ocr")]
    few = Amount(2, rounds=0, sampling=Sampling(frames=2))
    Runner(Local(vlm, "mini"), [UNREDUCED_SETTING], tasks, out, few).run()
    more = Amount(4, rounds=0, sampling=Sampling(frames=4))
    before = out.read_text()
    with pytest.raises(InputError, match=r"asked .*'frames': 2.*'frames': 4.*give another --out"):
        Runner(Local(vlm, "mini"), [UNREDUCED_SETTING], tasks, out, more)
    assert out.read_text() == before
    again = Amount(4, rounds=0, sampling=Sampling(frames=2))
    Runner(Local(vlm, "mini"), [UNREDUCED_SETTING], tasks, out, again).run()
    tokens = {row["visual_tokens_in"] for key, row in answers(out).items() if key[0] == "mine"}
    assert len(tokens) == 1
    # scenes are shown whole, whatever is taken from files
    Runner(Local(vlm, "mini"), [UNREDUCED_SETTING], tasks[1:], out, more)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "a.png", "question": "?"}\n', "of `foveate measure`: kind must be one of"),
        ('{"kind": "motion", "answer": "x"}\n', "of `foveate measure`: .*got 'motion'"),
        ("[1]\n", "of records: line 1"),
        ("3\n", "of records: line 1"),
        ("buy milk\n", "of records: line 1 must be a JSON object, got 'buy milk'"),
        ("buy milk", "of records: line 1 must be a JSON object, got 'buy milk'"),
    ],
)
def test_records_are_added_to_no_other_file(vlm, tmp_path, text, message):
    out = tmp_path / "notes.txt"
    out.write_text(text)
    with pytest.raises(InputError, match=f"notes.txt is not a file {message}.*another --out"):
        Runner(Local(vlm, "mini"), [UNREDUCED_SETTING], [task("ocr")], out)
    assert out.read_text() == text


@pytest.mark.parametrize("query", ["llm", "embedding"])
def test_the_question_is_charged_to_every_setting_alike(vlm, tmp_path, query):
    knobs = {"compressor": {"name": "quecc", "kernel": 6}, "multi_level_layers": [1, 2]}
    model = with_compressor(vlm.model, **knobs, query_encoding=query).eval()
    asking = replace(
        vlm, model=model, processor=CompressedProcessor.of(vlm.processor, model.config)
    )
    asking = replace(asking, family=families()["foveate_compressed"])
    found = []
    # whoever asks first pays for all, unless it is seen to
    for name in ("first", UNREDUCED):
        order = [setting_at(FIRST, 0.5, 8), UNREDUCED_SETTING][:: 1 if name == "first" else -1]
        out = tmp_path / f"{name}.jsonl"
        Runner(Local(asking, "mini"), order, [task("ocr")], out, Amount(2, 2, rounds=0)).run()
        found.append({key: row["llm_flops"] for key, row in answers(out).items()})
        for (_, method, *_), row in answers(out).items():
            if method == UNREDUCED:
                assert row["llm_flops"] == row["llm_flops_unreduced"]
        model.model.questions = QuestionCache()
    assert found[0] == found[1]
    inputs = asking.batch([(task("ocr").item(0).media, task("ocr").item(0).question)])
    with torch.no_grad(), foveate.reduce(model, Reduction()) as run_:
        model(**inputs)
    assert run_.report.question_flops > 0
    assert found[0]["ocr", UNREDUCED, 1.0, 0] == run_.report.prefill_flops


def test_costs_of_a_batch_are_those_of_its_samples_alone(vlm):
    items = [task("reasoning").item(index) for index in range(3)]
    reduction = foveate.AIM(0.25, (0.5, 0.786))
    shown = [item.media for item in items]
    batch = vlm.batch([(item.media, item.question) for item in items])
    _, lengths, report = answer(vlm, batch, reduction, 12)
    together = taken(vlm, batch, shown, lengths, report)
    for item, mine in zip(items, together, strict=True):
        *_, alone = answer(vlm, vlm.batch([(item.media, item.question)]), reduction, 12)
        assert (mine.kv_bytes, mine.kv_bytes_unreduced) == (
            alone.kv_bytes,
            alone.kv_bytes_unreduced,
        )
        # scoring is charged for the padding, too
        assert mine.llm_flops == pytest.approx(alone.prefill_flops, rel=0.01)
    assert encoding_flops(vlm, items[0].media, 299) is None


WHAT = ("foveate-mini", "--methods", "aim", "--shares", ".25", "--tasks", "reasoning,ocr")
SIZE = ("--samples", "12", "--batch", "2", "--rounds", "1", "--timed", "1", "--threads", "1")


def test_a_killed_run_goes_on(tmp_path):
    command = ["measure", *WHAT, *SIZE, "--out"]
    killed, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "foveate", *command, str(killed)], stderr=subprocess.DEVNULL
    )
    while not killed.exists() or killed.read_text().count('"answer"') < 7:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with killed.open("a") as file:
        file.write('{"kind": "answer", "task": "rea')  # as if cut off inside a line
    assert 7 <= killed.read_text().count('"said"') < 48
    assert run(*command, str(killed)).returncode == 0
    assert run(*command, str(whole)).returncode == 0
    rows = [json.loads(line) for line in killed.read_text().splitlines() if line.endswith("}")]
    found = [row for row in rows if row["kind"] == "answer"]
    (tmp_path / "clean.jsonl").write_text("\n".join(map(json.dumps, found)))
    assert answers(tmp_path / "clean.jsonl") == answers(whole)
    assert sum(row["kind"] == "run" for row in rows) == 2
    assert {row["round"] for row in rows if row["kind"] == "time"} == {0}
