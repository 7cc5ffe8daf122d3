"""The model and the demo in the package are whole, small, and do what their card says."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

import foveate.train
from foveate.train.mini.evaluate import evaluate
from foveate.train.mini.tokens import build_processor

ASSETS = Path(foveate.train.__file__).parents[1] / "assets"


@pytest.fixture(scope="module")
def shipped():
    folder = ASSETS / "foveate-mini"
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(folder)


def test_weights_are_small_and_bfloat16():
    folder = ASSETS / "foveate-mini"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12_000_000
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_the_tokenizer_is_the_one_the_code_builds(shipped):
    assert shipped[1].tokenizer.get_vocab() == build_processor().tokenizer.get_vocab()


def test_it_answers_validation_questions(shipped):
    """Far below its measured accuracy, far above a guess: a broken file, not a bad day."""
    tallies = evaluate(*shipped, split="val", n=20)
    assert tallies["reasoning"].share >= 0.8
    assert tallies["ocr"].share >= 0.6
    assert tallies["video"].share >= 0.6


def test_the_demo_lists_files_that_are_there():
    rows = json.loads((ASSETS / "demo" / "questions.json").read_text())
    assert len(rows) == 10
    assert all((ASSETS / "demo" / row["file"]).is_file() for row in rows)
    assert all(set(row) == {"file", "question", "answer", "task"} for row in rows)
