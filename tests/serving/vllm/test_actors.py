"""The recipe of the guide that answers a table by vLLM in actors of Ray, on a tiny checkpoint."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")
pytest.importorskip("ray.data", reason="needs Ray: .ci/vllm")

import pyarrow as arrow
from pyarrow import parquet

import foveate
from serving import hostile
from serving.vllm import checkpoints, engine

pytestmark = pytest.mark.slow
FAMILY = "llava"
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "batch.md"
QUESTIONS = ("what is it?", "how many are there?")
# where the recipe has a GPU and a large model
HERE = {
    '"llava-hf/llava-1.5-7b-hf"': "{folder!r}",
    "num_gpus=1": "num_cpus=1",
    "LLM(model, ": "LLM(model, dtype='float32', enforce_eager=True, max_model_len=1024, ",
    "max_tokens=32": f"max_tokens={engine.TOKENS}, ignore_eos=True",
}
TOLD = "return batch | {"
COUNTED = TOLD + '"read": [len(one.prompt_token_ids) for one in said], '


def test_a_table_is_answered_by_vllm_in_actors(folder, reference, tmp_path):
    pictures = [checkpoints.picture(number) for number in range(len(QUESTIONS))]
    rows = [
        {"image": {"bytes": hostile.saved(picture), "path": None}, "question": question}
        for picture, question in zip(pictures, QUESTIONS, strict=True)
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    recipe = re.search(
        r"With vLLM in the actors.*?\n\n((?:    [^\n]*\n|\n)+)", GUIDE.read_text(), re.S
    )
    code = textwrap.dedent(recipe.group(1)).replace(TOLD, COUNTED)
    for there, here in HERE.items():
        assert there in code
        code = code.replace(there, here.format(folder=str(folder)))
    (reduction,) = re.findall(r'\{"method".*?\}', code)
    source = str(Path(foveate.__path__[0]).parent)
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, **engine.OFFLINE, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, check=True)

    found = parquet.read_table(tmp_path / "out").to_pylist()
    found.sort(key=lambda row: QUESTIONS.index(row["question"]))
    for row, picture in zip(found, pictures, strict=True):
        prompt = f"USER: <image>\n{row['question']} ASSISTANT:"
        asked = {"prompt": prompt, "image": [picture], "foveate": json.loads(reduction)}
        expected = reference.ask(asked)
        assert row["read"] == expected.prompt
        whole = reference.processor.decode(expected.tokens, skip_special_tokens=True)
        assert row["answer"].rstrip("\ufffd") == whole.rstrip("\ufffd")
