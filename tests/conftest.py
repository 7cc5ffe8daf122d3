"""Golden data of the published code, a tiny random model of every family, and what runs by default."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import transformers
from jaxtyping import config
from packaging.version import Version
from safetensors.torch import load_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from foveate.models.family import families
from foveate.testing import CASES
from foveate.testing import tiny as make_tiny
from sampled import sample

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way


# families that every test sees by default; the rules alone carry the others, which `every_family` sees
THOROUGH = json.loads((Path(__file__).parent / "models" / "hand_written.json").read_text())
OTHERS = set(families()) - set(THOROUGH)


def pytest_addoption(parser):
    parser.addoption(
        "--device", default="cuda", help="where tests/gpu runs: cuda, or cpu to try it"
    )


@pytest.hookimpl(tryfirst=True)  # before -m takes its choice
def pytest_collection_modifyitems(items):
    """Mark `slow` what is left out by default.

    Of a test marked `sampled` what is not in the sample, and of a test that is not for `every_family`
    those that the rules alone carry.
    """
    tests = defaultdict(list)
    for item in items:
        name = other_family(item)
        if name and not is_there(name):
            item.add_marker(pytest.mark.skip(reason=f"this transformers has no {name}"))
        if name and not item.get_closest_marker("every_family"):
            item.add_marker("slow")
        elif item.get_closest_marker("sampled"):
            tests[item.nodeid.split("[")[0]].append(item)
    for cases in tests.values():
        for item, stays in zip(
            cases, sample([case.callspec.params for case in cases]), strict=True
        ):
            if not stays:
                item.add_marker("slow")


def is_there(name) -> bool:
    """Whether the installed transformers has a family as foveate takes it."""
    new_enough = Version(transformers.__version__) >= Version(families()[name].since or "0")
    return new_enough and name in CONFIG_MAPPING_NAMES


def other_family(item) -> str | None:
    """Which of the others a test's case is about."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = [value[0] if isinstance(value, tuple) and value else value for value in values]
    return next((name for name in names if isinstance(name, str) and name in OTHERS), None)


@pytest.fixture
def golden():
    """Load a golden file of the project's own copy."""
    return lambda name: load_file(Path(__file__).parent / "golden" / f"{name}.safetensors")


@pytest.fixture(params=CASES, ids="-".join)
def tiny(request):
    """(model, inputs) of each family and modality."""
    return make_tiny(*request.param)


@pytest.fixture
def untyped():
    """Types are not checked, as they are not where users pass what they like."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
