"""The study with a tiny tower, a dozen pictures and a few clips of each split."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.compressors.cell import LEVELS
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import pictures
from benchmarks.study.clips import clips
from benchmarks.study.pictures import draw, helps
from benchmarks.study.pretrain import Pretraining
from benchmarks.study.run import Recipes, Study
from foveate.records.journal import Journal
from recipes.foveate_mini.align import AlignRecipe
from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import build_processor, token_ids

SHAPE = MiniShape(
    width=32, tower_layers=max(LEVELS), tower_heads=2, layers=2, head=16, key_value_heads=1
)
PICTURES = RivalRecipe(steps=3, first_stage=0.34, pictures=4, questions=2, ocr=0.25, warmup=1)
RECIPES = Recipes(
    align=AlignRecipe(steps=2, batch=2, warmup=1),
    reader=Pretraining(
        steps=4, pictures=4, questions=2, peaks=[1e-3, 2e-3, 4e-3], tried=2, warmup=1
    ),
    picture=PICTURES,
    clip=replace(PICTURES, first_stage=0.0, ocr=0.0, lookups=1.0),
)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="session")
def mini() -> SimpleNamespace:
    """What the study needs of foveate-mini, untrained."""
    processor = build_processor()
    model = build(SHAPE, token_ids(processor.tokenizer), seed=0).eval()
    return SimpleNamespace(model=model, processor=processor)


@pytest.fixture
def study(mini: SimpleNamespace, tmp_path: Path) -> Study:
    """The study in tiny, its journal and checkpoints new."""
    tower = mini.model.model.vision_tower
    return Study(
        mini=mini,
        pictures={split: pictures(tower, split, 12, tmp_path, draw) for split in SPLITS},
        clips={split: clips(tower, split, 6, tmp_path) for split in SPLITS},
        helps=helps(mini.processor.tokenizer, 12, tmp_path),
        recipes=RECIPES,
        journal=Journal(tmp_path / "study.jsonl"),
        folder=tmp_path,
        conditions={"commit": None},
        say=lambda line: None,
    )
