"""lmms-eval's own evaluator runs the model `foveate` on scenes, offline."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from foveate.harness.asking import Asker
from foveate.harness.scenes import write
from foveate.measure.tasks import task

pytest.importorskip("lmms_eval", reason="the extra `eval` is absent")
EVALUATE = """
import json, sys
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager
folder, arguments = sys.argv[1:]
found = simple_evaluate(
    model="foveate", model_args=arguments, tasks=["foveate_ocr", "foveate_video"],
    task_manager=TaskManager(include_path=folder, include_defaults=False), batch_size=1,
    log_samples=True,
)
out = {name: {"score": found["results"][name]["exact,none"],
              "said": {s["doc_id"]: s["filtered_resps"][0] for s in rows}}
       for name, rows in found["samples"].items()}
print("RESULT" + json.dumps(out))
"""


ARGUMENTS = "pretrained=foveate-mini,reduction=aim,keep=0.5,prune=0.5:0.786"


def offline(folder) -> dict[str, str]:
    """An environment in which nothing is asked of the hub."""
    names = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    return os.environ | names | {"OMP_NUM_THREADS": "1"}


def alone(name, count) -> list[str]:
    """What the same settings say outside of the harness."""
    asker = Asker.of("foveate-mini", reduction="aim", keep=0.5, prune=(0.5, 0.786))
    said = []
    for index in range(count):
        item = task(name).item(index)
        chat = [{"role": "user", "content": [*item.media, item.question]}]
        said.append(asker.answer(chat, max_new_tokens=12, do_sample=False)[0])
    return said


def right(name, said) -> float:
    """Share of answers that are right."""
    items = [task(name).item(index) for index in range(len(said))]
    return sum(text in item.answers for text, item in zip(said, items, strict=True)) / len(said)


def test_lmms_eval_finds_and_runs_the_model(tmp_path):
    assert [entry.value for entry in entry_points(group="lmms_eval.models", name="foveate")] == [
        "foveate.harness.manifest:manifests"
    ], "the installed package has no such entry point: install it anew"
    write(tmp_path / "tasks", 3, ("ocr", "video"))
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(tmp_path / "tasks"), ARGUMENTS],
        capture_output=True, text=True, env=offline(tmp_path), cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    found = json.loads(line.removeprefix("RESULT"))
    for name in ("ocr", "video"):
        said = alone(name, 3)
        assert found[f"foveate_{name}"]["said"] == dict(zip("012", said, strict=True))
        assert found[f"foveate_{name}"]["score"] == pytest.approx(right(name, said))


@pytest.mark.slow
def test_two_processes_share_the_questions(tmp_path):
    write(tmp_path / "tasks", 5, ("ocr", "video"))  # one process has a question more
    command = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0"
    command += f" -m lmms_eval --model foveate --model_args {ARGUMENTS} --include_path tasks"
    command += " --tasks foveate_ocr,foveate_video --batch_size 1 --log_samples --output_path out"
    done = subprocess.run(
        [sys.executable, *command.split()],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=offline(tmp_path) | {"ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("*_results.json")
    scores = json.loads(results.read_text())["results"]
    for name in ("ocr", "video"):
        (samples,) = (tmp_path / "out").rglob(f"*_samples_foveate_{name}.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        said = {row["doc_id"]: row["filtered_resps"] for row in rows}
        expected = alone(name, 5)
        assert said == dict(enumerate(expected))
        assert len(rows) == 5
        assert scores[f"foveate_{name}"]["exact,none"] == pytest.approx(right(name, expected))
