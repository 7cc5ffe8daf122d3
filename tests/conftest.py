"""Fixtures: golden data of the published code, and a tiny random model of every family."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foveate.models.family import families

torch.set_num_threads(1)  # tiny tensors: threads only get in each other's way


@pytest.fixture
def golden():
    """Load a golden file of the project's own copy."""
    return lambda name: load_file(Path(__file__).parent / "golden" / f"{name}.safetensors")


CASES = [
    (name, modality)
    for name, family in families().items()
    for modality in family.placeholders(family.tiny().config)
]


@pytest.fixture(params=CASES, ids="-".join)
def tiny(request):
    """(model, inputs) of each family and modality."""
    name, modality = request.param
    torch.manual_seed(0)
    family = families()[name]
    model = family.tiny()
    model.generation_config.pad_token_id = 0
    return model, family.tiny_inputs(model.config, modality)
