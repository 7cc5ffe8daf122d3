"""The tested range of versions, told once beyond it; nothing old is asked of transformers and torch."""

import logging
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import foveate
from foveate.combine.aim import AIM
from foveate.runtime.seams import TESTED, warn_untested
from foveate.testing import tiny as make_tiny

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_package_asks_for_the_tested_range():
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    asked = {part.name: part.specifier for part in map(Requirement, declared)}
    for name, (low, high) in TESTED.items():
        major, minor = map(int, high.split("."))
        assert asked[name] == SpecifierSet(f">={low},<{major}.{minor + 1}"), name


@pytest.fixture
def told(monkeypatch):
    """What `foveate.reduce`, entered twice under a version of a library, warns of."""

    def enter_twice(name, version):
        monkeypatch.setattr(f"foveate.runtime.seams.{name}.__version__", version)
        model, _ = make_tiny("llava")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(2):
                with foveate.reduce(model, AIM(0.5, None)):
                    pass
        return [str(warning.message) for warning in seen]

    warn_untested.cache_clear()
    yield enter_twice
    warn_untested.cache_clear()


@pytest.mark.parametrize(
    ("name", "version"),
    [("transformers", "5.16.2"), ("transformers", "6.0.0.dev0"), ("torch", "2.99.0+cpu")],
)
def test_a_version_beyond_the_range_is_warned_of_once(told, name, version):
    (warning,) = told(name, version)
    assert f"not tested with this version of {name}; installed are" in warning
    assert f"{name} {version}" in warning
    assert "tested are transformers 5.17 to 5." in warning


def test_a_version_of_the_range_is_not_warned_of(told):
    assert told("transformers", "5.17.3") == []


OLD = "import warnings\ndef old(): warnings.warn('old', category, stacklevel=2)\nold()"


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
@pytest.mark.parametrize(
    "name",
    ["foveate", "foveate.runtime.seams", "torch.nn.modules.module", "transformers.utils.generic"],
)
def test_a_deprecated_call_of_ours_is_an_error(name, category):
    with pytest.raises(category, match="old"):
        exec(OLD, {"__name__": name, "category": category})


def test_a_deprecated_call_of_a_model_is_an_error():
    """Whatever decorates its forward is its caller, by the stack."""

    class Old(torch.nn.Module):
        def forward(self):
            warnings.warn("old", FutureWarning, stacklevel=2)

    with pytest.raises(FutureWarning, match="old"):
        Old()()
    with pytest.raises(FutureWarning, match="old"):
        torch.no_grad()(Old().forward)()


def test_nothing_deprecated_is_asked_of_transformers(tiny, caplog):
    """transformers logs what it renamed, once for each process."""
    model, inputs = tiny
    logging.Logger.warning_once.cache_clear()
    log = logging.getLogger("transformers")
    log.addHandler(caplog.handler)
    try:
        with torch.no_grad(), foveate.reduce(model, AIM(0.5, (1, 4))):
            model(**inputs, use_cache=True)
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
            model.generate(**inputs, max_new_tokens=2, do_sample=False, num_beams=2)
    finally:
        log.removeHandler(caplog.handler)
    assert "deprecated" not in caplog.text
