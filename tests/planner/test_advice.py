"""`foveate plan` says what the study found, and nothing where it found nothing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import foveate
from foveate.cost.vision.encoder import Media
from foveate.planner.advice import COMPRESSED, OF, TRAINED_BETTER, advice

RESULTS = Path(__file__).parents[2] / "results" / "study.json"
STOCK = SimpleNamespace(model_type="llava_onevision")


@pytest.mark.parametrize("task", TRAINED_BETTER)
def test_the_advice_is_what_the_study_found(task: str) -> None:
    rows = json.loads(RESULTS.read_text())["verdicts"]
    claims = [
        row for row in rows if re.match(rf"{task}: a model trained for \d+ tokens", row["claim"])
    ]
    held = [row for row in claims if row["verdict"] == "holds"]
    counts = [int(re.findall(r"\d+", row["claim"])[0]) for row in held]
    # "better" of a rate close to nothing is no advice
    worth = [count for count, row in zip(counts, held, strict=True) if row["value"] < -0.02]
    assert tuple(worth) == TRAINED_BETTER[task]


@pytest.mark.parametrize(
    ("task", "tokens", "is_told"),
    [
        ("reasoning", 36, True), ("reasoning", 1, True), ("reasoning", 72, False),
        ("ocr", 36, True), ("ocr", 9, False), ("charts", 36, False),
    ],
)  # fmt: skip
def test_it_is_given_where_training_helped(task: str, tokens: int, is_told: bool) -> None:
    found = advice(task, tokens / OF, STOCK)
    assert (found is not None) == is_told
    assert found is None or "foveate train --compressor" in found


def test_a_model_with_a_compressor_was_trained_already() -> None:
    assert advice("reasoning", 0.1, SimpleNamespace(model_type=COMPRESSED)) is None


def test_a_plan_gives_it_for_a_picture_and_not_for_a_clip() -> None:
    picture, clip = Media(images=1), Media(frames=8)
    few = foveate.plan("llava-onevision-7b", "15%", picture)
    assert few.advice is not None
    assert few.to_dict()["advice"] == few.advice
    assert foveate.plan("llava-onevision-7b", "90%", picture).advice is None
    assert foveate.plan("llava-onevision-7b", "15%", clip).advice is None
