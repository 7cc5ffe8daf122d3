"""Golden data of the published code, a tiny random model of every family, and what runs by default."""

from collections import defaultdict
from pathlib import Path

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file

from foveate.testing import CASES
from foveate.testing import tiny as make_tiny
from sampled import sample

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way


@pytest.hookimpl(tryfirst=True)  # before -m takes its choice
def pytest_collection_modifyitems(items):
    """Of a test marked `sampled`, mark what is not in the sample `slow`."""
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled"):
            tests[item.nodeid.split("[")[0]].append(item)
    for cases in tests.values():
        for item, stays in zip(
            cases, sample([case.callspec.params for case in cases]), strict=True
        ):
            if not stays:
                item.add_marker("slow")


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
