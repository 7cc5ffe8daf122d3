"""Fixtures: one tiny random foveate-mini and its processor."""

import pytest
import torch

from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import build_processor, token_ids

TINY = MiniShape(width=32, tower_layers=2, tower_heads=2, layers=3, head=16, key_value_heads=1)


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture(scope="session")
def model(processor):
    return build(TINY, token_ids(processor.tokenizer), seed=0).eval()


@pytest.fixture
def fresh(processor):
    return lambda: build(TINY, token_ids(processor.tokenizer), seed=0)


@pytest.fixture(scope="module")
def stock(model, processor, tmp_path_factory):
    """Folder of a tiny random foveate-mini."""
    folder = tmp_path_factory.mktemp("stock")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
