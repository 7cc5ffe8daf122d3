"""The three commands of the guide, with vLLM's own command, on a tiny checkpoint."""

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

import vllm

import foveate
from serving.vllm import process

pytestmark = pytest.mark.slow
FAMILY = "llava_onevision"
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serving.md"
NAMED = "llava-hf/llava-onevision-qwen2-7b-ov-hf"


@pytest.fixture
def named_vllm(tmp_path):
    """A folder by which vLLM's command finds its own name, which its build for CPUs does not have."""
    try:
        version("vllm")
    except PackageNotFoundError:
        named = f"{vllm.__version__.partition('+')[0]}+cpu"  # by which it also knows its device
        information = tmp_path / f"vllm-{named}.dist-info"
        information.mkdir()
        told = f"Metadata-Version: 2.1\nName: vllm\nVersion: {named}\n"
        (information / "METADATA").write_text(told)
    return tmp_path


def test_a_newcomers_three_commands(folder, reference, named_vllm):
    block = re.search(
        r"```bash\n(pip install .foveate\[vllm.*?)```", GUIDE.read_text(), re.S
    ).group(1)
    install, started, *asked = block.strip().split("\n")
    assert install == 'pip install "foveate[vllm]"'
    (wanted,) = [row for row in map(Requirement, requires("foveate")) if row.name == "vllm"]
    assert wanted.specifier.contains(vllm.__version__, prereleases=True)

    command, *arguments = shlex.split(started.replace(NAMED, str(folder)))
    assert (command, arguments[:2]) == ("vllm", ["serve", str(folder)])
    found = Path(sys.executable).with_name(command)
    source = Path(foveate.__path__[0]).parent
    path = f"{named_vllm}:{source}"
    with process.running(str(found), *arguments, PYTHONPATH=path) as (client, _):
        script = "\n".join(asked).replace(":8000", f":{client.port}")
        script = re.sub(r"\bpython\b", sys.executable, script)
        variables = {"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"}
        out = subprocess.run(
            ["bash", "-euc", script], env=variables, capture_output=True, text=True, check=True
        )
    answer = json.loads(out.stdout)
    assert answer["choices"][0]["message"]["content"]
    picture = Image.open(foveate.example()).convert("RGB")
    prompt = "user: <image>how many digits are there? assistant:"
    counts = [
        reference.ask({"prompt": prompt, "image": [picture], "foveate": given}).prompt
        for given in (json.loads(arguments[-1])["foveate"], None)
    ]
    assert answer["usage"]["prompt_tokens"] == counts[0] < counts[1]
