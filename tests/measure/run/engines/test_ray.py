"""The same cells on two actors of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from foveate.ask.media import Sampling
from foveate.errors import FoveateError, InputError, MissingExtraError
from foveate.measure.run.engines import engine
from foveate.measure.run.engines.local import Local
from foveate.measure.run.engines.ray import Ray, init_arguments, share
from foveate.measure.run.jobs import Job, Work, read_question
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import settings
from foveate.measure.tasks import task
from foveate.reduction import Reduction

CHANGING = {"conditions", "engine", "actors", "threads", "device", "gpu"}


def lines(path) -> list[str]:
    """Everything but the times and the conditions, in one order."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [
        {name: value for name, value in row.items() if name not in CHANGING and name[-3:] != "_ms"}
        for row in rows
    ]
    return sorted(json.dumps(row, sort_keys=True) for row in kept)


def run(answering, out) -> list[int]:
    seen = []
    chosen = settings(["aim", "fastv", "random"], [0.5, 0.02], 8)  # some refuse the second
    runner = Runner(answering, chosen, [task("reasoning"), task("video")], out, Amount(5, 2, 1, 1))
    runner.run(lambda done, what: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == runner.total
    return seen


def test_engines_by_name():
    assert (engine("local"), engine("ray")) == (Local, Ray)
    with pytest.raises(InputError, match="unknown engine 'gpu'; known: local, ray"):
        engine("gpu")
    with pytest.raises(InputError, match="local takes none, got 2"):
        Local.start("foveate-mini", actors=2)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "foveate\[ray\]"'):
        Ray("foveate-mini")


class Calls:
    """Stands in for ray: results are ready last in, first out."""

    class exceptions:
        RayTaskError = ValueError

    def wait(self, references, num_returns):
        return references[-1:], references[:-1]

    def get(self, reference):
        return reference()


def test_jobs_are_taken_as_there_is_room():
    taken, made = [], []

    def make(actor):
        class Remote:
            def remote(self, work):
                made.append((actor, work.answer_tokens))
                return lambda: (actor, work.answer_tokens)

        return type("Handle", (), {"answer": Remote()})()

    def jobs() -> Iterator[Job]:
        for number in range(7):
            taken.append(number)
            yield Job(("t", "m", 1.0), (), Work((), Reduction(), number))

    spread = object.__new__(Ray)
    spread.ray, spread.actors = Calls(), [make("a"), make("b")]
    answers = spread.answer(jobs())
    job, said = next(answers)
    assert made == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    assert taken == [0, 1, 2, 3]
    assert (job.work.answer_tokens, said) == (3, ("b", 3))
    rest = list(answers)
    assert sorted([3, *(job.work.answer_tokens for job, _ in rest)]) == list(range(7))
    assert all(said[1] == job.work.answer_tokens for job, said in rest)
    assert made[4] == ("b", 4)  # the one that was done


def test_each_actor_has_a_gpu_where_there_are_any():
    room = {"CPU": 16.0, "GPU": 4.0}
    assert share(room, None, 2, None) == (4, {"num_cpus": 2, "num_gpus": 1})
    assert share(room, "cuda", 1, 3) == (3, {"num_cpus": 1, "num_gpus": 1})
    assert share(room, "cpu", 2, 8) == (8, {"num_cpus": 2, "num_gpus": 0})
    assert share({"CPU": 16.0}, None, 2, None) == (1, {"num_cpus": 2, "num_gpus": 0})


def test_actors_that_find_no_room():
    room = {"CPU": 6.0, "GPU": 4.0}
    with pytest.raises(InputError, match=r"8 actors .* 6 CPU, 4 GPU; take fewer actors or the dev"):
        share(room, None, 1, 8)  # not quietly on the CPU
    with pytest.raises(InputError, match=r"4 actors .*'CPU': 2.*; take fewer actors or threads"):
        share(room, None, 2, None)
    with pytest.raises(InputError, match=r"1 actors .*'GPU': 1.* of 2 CPU, 0 GPU"):
        share({"CPU": 2.0}, "cuda:0", 1, None)


@pytest.fixture(scope="module")
def cluster():
    """Ray, started once: it takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is absent")
    yield ray.init(**init_arguments(2))
    ray.shutdown()


@pytest.mark.slow
def test_records_are_those_of_one_process(tmp_path, cluster):
    alone, spread = tmp_path / "alone.jsonl", tmp_path / "spread.jsonl"
    with Local.start("foveate-mini") as answering:
        run(answering, alone)
    with Ray.start("foveate-mini", actors=2) as answering:
        assert answering.identity()["actors"] == 2
        run(answering, spread)
        assert lines(spread) == lines(alone)
        run(answering, spread)
        assert len(lines(spread)) == len(lines(alone)) + 1  # nothing was left, but it began
        asked = read_question(task("reasoning"), 0, Sampling())
        empty = Job(("t", "m", 1.0), (), Work(((asked.pictures, " "),), Reduction(), 4))
        with pytest.raises(FoveateError, match=r"^the question is empty$"):
            list(answering.answer([empty]))
    assert any('"refused"' in line for line in lines(alone))


@pytest.mark.slow
def test_an_actor_that_dies_is_started_anew(cluster):
    with Ray.start("foveate-mini", actors=1) as answering:
        asked = [read_question(task("reasoning"), number, Sampling()) for number in range(6)]
        work = [Work(((one.pictures, one.item.question),), Reduction(), 4) for one in asked]
        jobs = [Job(("t", "m", 1.0), (), each) for each in work]
        before = [said.text for _, (said,) in answering.answer(jobs)]
        answers = answering.answer(jobs)
        first = next(answers)
        answering.ray.kill(answering.actors[0], no_restart=False)
        after = [said.text for _, (said,) in (first, *answers)]
    assert after == before


@pytest.mark.slow
def test_a_killed_run_keeps_what_was_answered(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is absent")
    out = tmp_path / "run.jsonl"
    code = "from foveate.cli import main; main()"
    command = [sys.executable, "-c", code, "measure", "foveate-mini", "--methods", "aim,random"]
    command += ["--shares", ".25", "--tasks", "reasoning,ocr", "--samples", "12", "--batch", "2"]
    command += ["--rounds", "0", "--engine", "ray", "--actors", "2", "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not out.exists() or out.read_text().count('"said"') < 7:
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    kept = [line for line in lines(out) if '"said"' in line]
    assert 7 <= len(kept) < 72
    subprocess.run(command, check=True, capture_output=True)
    answers = [line for line in lines(out) if '"said"' in line]
    assert len(set(answers)) == len(answers) == 72
    assert set(kept) <= set(answers)


@pytest.mark.slow
def test_what_does_not_fit(cluster):
    for knobs, message in (
        ({"actors": 0}, "actors must be at least 1, got 0"),
        ({"actors": 1, "device": "cuda"}, "1 actors of .*'GPU': 1.* do not fit a cluster of"),
        ({"actors": 1}, "cannot load a vision-language model from 'no-such-model'"),
    ):
        with pytest.raises(InputError, match=message):
            Ray("no-such-model", **knobs)
