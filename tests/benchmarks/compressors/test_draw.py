"""What a step asks depends on seed and step alone, and keeps the shares of the recipe."""

from dataclasses import replace

import numpy as np

from benchmarks.compressors.draw import LOOKUPS, RivalRecipe, draw
from benchmarks.compressors.features import Pictures
from foveate.scenes.sample import Question

RECIPE = RivalRecipe(pictures=8, questions=3, ocr=0.25, lookups=2.0, first_stage=0.0)


def plain(count=40):
    """Pictures of one lookup and nine other questions, or of one line of text."""
    scene = [Question(f"q{n}", "a", "colour" if n == 0 else "count") for n in range(10)]
    text = [Question("read", "a", "word")]
    return Pictures(np.zeros((count, 1, 1, 1)), [scene, text] * (count // 2))


def test_a_step_is_drawn_from_seed_and_number():
    first = draw(plain(), RECIPE, 1, 2)
    assert draw(plain(), RECIPE, 1, 2) == first
    assert draw(plain(), RECIPE, 1, 3)[0] != first[0]
    assert draw(plain(), RECIPE, 2, 2)[0] != first[0]


def test_shares_of_tasks_and_no_question_twice():
    for step in range(20):
        rows, asked = draw(plain(), RECIPE, 0, step)
        assert len(set(rows)) == RECIPE.pictures
        assert sum(row % 2 for row in rows) == 2
        for row, part in zip(rows, asked, strict=True):
            assert len(set(part)) == len(part) == (1 if row % 2 else 3)
            assert {one.family for one in part} <= ({"word"} if row % 2 else {"colour", "count"})


def test_the_first_stage_asks_lookups_alone():
    recipe = replace(RECIPE, steps=10, first_stage=0.5)
    for step in range(10):
        rows, asked = draw(plain(), recipe, 0, step)
        lookups = {one.family in LOOKUPS for part in asked for one in part}
        assert len(rows) == recipe.pictures
        assert (lookups == {True}) == (step < 5)


def test_lookups_are_asked_as_often_as_the_recipe_says():
    def share(weight):
        recipe = replace(RECIPE, questions=1, ocr=0.0, lookups=weight)
        asked = [one for step in range(200) for (one,) in draw(plain(), recipe, 0, step)[1]]
        return sum(one.family in LOOKUPS for one in asked) / len(asked)

    for weight in (1.0, 9.0):
        expected = weight / (weight + 9)
        assert abs(share(weight) - expected) < 4 * (expected * (1 - expected) / 1600) ** 0.5
