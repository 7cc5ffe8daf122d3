"""lmms-eval's own evaluator runs the model `foveate` on scenes, offline."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from foveate.harness.asking import Asker
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


def test_lmms_eval_finds_and_runs_the_model(tmp_path):
    assert [entry.value for entry in entry_points(group="lmms_eval.models", name="foveate")] == [
        "foveate.harness.manifest:manifests"
    ], "the installed package has no such entry point: install it anew"
    from foveate.harness.scenes import write

    write(tmp_path / "tasks", 3, ("ocr", "video"))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    arguments = "pretrained=foveate-mini,reduction=aim,keep=0.5,prune=0.5:0.786"
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(tmp_path / "tasks"), arguments],
        capture_output=True, text=True, env=os.environ | offline, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    found = json.loads(line.removeprefix("RESULT"))
    asker = Asker.of("foveate-mini", reduction="aim", keep=0.5, prune=(0.5, 0.786))
    for name in ("ocr", "video"):
        right = 0
        for index in range(3):
            item = task(name).item(index)
            chat = [{"role": "user", "content": [*item.media, item.question]}]
            said, _ = asker.answer(chat, max_new_tokens=12, do_sample=False)
            assert found[f"foveate_{name}"]["said"][str(index)] == said
            right += said in item.answers
        assert found[f"foveate_{name}"]["score"] == pytest.approx(right / 3)
