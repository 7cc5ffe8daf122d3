"""Fixtures: golden data of the published code, and a tiny random model of every family."""

from pathlib import Path

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file

from foveate.testing import CASES
from foveate.testing import tiny as make_tiny

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way


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
