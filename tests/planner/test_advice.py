"""`foveate plan` says what the study found, and nothing where it found nothing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import foveate
from foveate.cost.vision.encoder import Media
from foveate.planner.advice import COMPRESSED, MERGED_BETTER, OF, TRAINED_BETTER, advice

RESULTS = Path(__file__).parents[2] / "results" / "study.json"
STOCK = SimpleNamespace(model_type="llava_onevision")


SURE = 0.02  # "better" of a rate close to nothing is no advice


@pytest.mark.parametrize("task", ["reasoning", "ocr"])
@pytest.mark.parametrize(
    ("told", "verdict", "sign"), [(TRAINED_BETTER, "holds", -1), (MERGED_BETTER, "fails", 1)]
)
def test_the_advice_is_what_the_study_found(
    task: str, told: dict[str, tuple[int, ...]], verdict: str, sign: int
) -> None:
    found = {}
    for row in json.loads(RESULTS.read_text())["verdicts"]:
        claim = rf"{task}: a model trained for (\d+) tokens errs less than (.*) without"
        asked = re.match(claim, row["claim"])
        if asked and row["verdict"] == verdict and sign * row["value"] > SURE:
            found[int(asked[1])] = asked[2]
    assert tuple(found) == told.get(task, ())
    if told is MERGED_BETTER:
        assert set(found.values()) <= {"fovea-merge"}


@pytest.mark.parametrize(
    ("task", "tokens", "does"),
    [
        ("reasoning", 36, "foveate train --compressor"), ("reasoning", 1, "foveate train --comp"),
        ("reasoning", 72, None), ("ocr", 36, None), ("ocr", 9, "fovea-merge"), ("charts", 36, None),
    ],
)  # fmt: skip
def test_it_is_given_where_something_helped(task: str, tokens: int, does: str | None) -> None:
    found = advice(task, tokens / OF, STOCK)
    assert found is None if does is None else does in str(found)


def test_a_model_with_a_compressor_was_trained_already() -> None:
    assert advice("reasoning", 0.1, SimpleNamespace(model_type=COMPRESSED)) is None


def test_a_plan_gives_it_for_a_picture_and_not_for_a_clip() -> None:
    picture, clip = Media(images=1), Media(frames=8)
    few = foveate.plan("llava-onevision-7b", "15%", picture)
    assert few.advice is not None
    assert few.to_dict()["advice"] == few.advice
    assert foveate.plan("llava-onevision-7b", "90%", picture).advice is None
    assert foveate.plan("llava-onevision-7b", "15%", clip).advice is None
