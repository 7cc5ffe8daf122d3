"""The kernel without a GPU: interpreted, and compiled for one; `tests/gpu/test_kernels.py` runs it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def test_the_kernel_chooses_as_the_loop():
    if not find_spec("triton"):
        pytest.skip("Triton is not installed")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("interpreted.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    if made is None:
        pytest.skip(
            "this Triton's interpreter cannot count up to an argument, as 3.6 with NumPy 2.4"
        )
    assert len(made) == 16
    assert [name for name, (loop, kernel) in made.items() if loop != kernel] == []


@pytest.mark.parametrize("block", [1, 1024])
def test_the_kernel_compiles_for_a_gpu(block, monkeypatch, tmp_path):
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from foveate.compress.kernels.diverse import _steps

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # or what compiled before is taken
    types = {"distance": "*fp32", "chosen": "*i64", "tokens": "i32", "count": "i32"}
    source = ASTSource(_steps, {**types, "block": "constexpr"}, {"block": block})
    assert compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]
