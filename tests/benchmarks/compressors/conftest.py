"""A tiny frozen tower and a few pictures of each split, shared."""

from types import SimpleNamespace

import pytest

from benchmarks.compressors.cell import LEVELS
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import pictures
from mini import _two_threads  # noqa: F401
from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import build_processor, token_ids

SHAPE = MiniShape(
    width=32, tower_layers=max(LEVELS), tower_heads=2, layers=2, head=16, key_value_heads=1
)


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture(scope="session")
def vlm(processor):
    stock = build(SHAPE, token_ids(processor.tokenizer), seed=0).eval()
    return SimpleNamespace(model=stock, processor=processor)


@pytest.fixture(scope="session")
def sets(vlm, tmp_path_factory):
    folder, tower = tmp_path_factory.mktemp("features"), vlm.model.model.vision_tower
    counts = {"train": 12, "val": 4, "test": 6}
    return {split: pictures(tower, split, count, folder) for split, count in counts.items()}


@pytest.fixture(scope="session")
def quick():
    return RivalRecipe(steps=3, first_stage=0.34, pictures=4, questions=2, ocr=0.25, warmup=1)
