"""What vLLM calls, with a stand-in for vLLM where it is not installed."""

import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from foveate.errors import UnsupportedError
from foveate.serving import vllm as plugin
from foveate.serving.vllm import uncovered


@pytest.fixture
def registered(monkeypatch):
    """What a stand-in for vLLM 0.32 is told."""
    told = {}
    stand_in = ModuleType("vllm")
    stand_in.__version__ = "0.32.1"
    stand_in.ModelRegistry = SimpleNamespace(register_model=told.__setitem__, models=told)
    told["Gemma3ForConditionalGeneration"] = told["BertModel"] = "stock"
    monkeypatch.setattr(uncovered, "STOCK", {})
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    return told


def test_vllm_finds_it():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["vllm.general_plugins"] == {
        "foveate": "foveate.serving.vllm:register"
    }


def test_models_are_told_as_texts_and_again_alike(registered):
    plugin.register()
    plugin.register()
    assert set(registered) == {*plugin.FAMILIES, "Gemma3ForConditionalGeneration", "BertModel"}
    gemma = "Gemma3ForConditionalGeneration"  # foveate knows it, but not in vLLM
    assert registered[gemma] == f"foveate.serving.vllm.uncovered:{gemma}"
    assert {gemma: "stock"} == uncovered.STOCK
    assert registered["BertModel"] == "stock"
    assert registered["LlavaForConditionalGeneration"] == "foveate.serving.vllm.llava:FoveateLlava"


@pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "0.320.0", "1.0"])
def test_other_versions_are_refused_unless_they_are_to_be_tried(registered, monkeypatch, version):
    sys.modules["vllm"].__version__ = version
    with pytest.raises(UnsupportedError, match=f"0.32.*got {version}.*FOVEATE_VLLM_UNTESTED=1"):
        plugin.register()
    assert set(registered.values()) == {"stock"}
    monkeypatch.setenv("FOVEATE_VLLM_UNTESTED", "1")
    plugin.register()
    assert set(plugin.FAMILIES) < set(registered)


def test_it_imports_nothing_heavy():
    code = "import foveate.serving.vllm, sys; print({'torch', 'vllm', 'transformers'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
