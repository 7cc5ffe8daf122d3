"""An answer is right if it stands in the sentence, as a whole."""

import pytest

from foveate.scenes.sample import Question
from recipes.foveate_smol import evaluate as judged
from recipes.foveate_smol.evaluate import Score, as_record, evaluate, is_found

TASKS = {"reasoning", "ocr", "video", "documents", "charts", "screens", "texture"}


@pytest.mark.parametrize(
    ("answer", "said", "right"),
    [
        ("red", "The 7 is red.", True),
        ("red", "Red.", True),
        ("yes", "Yes, 7 is there.", True),
        ("no", "It is not there.", False),
        ("4", "The value is 4.", True),
        ("4", "The value is 4.50.", False),
        ("50", "The value is 4.50.", False),
        ("4.50", "The bread costs 4.50.", True),
        ("4", "The value is 14.", False),
        ("top left", "It is at the top left.", True),
        ("blue", "The 7 is red.", False),
        ("cat", "The cats.", False),
    ],
)
def test_found_is_as_a_whole_word(answer, said, right):
    assert is_found(answer, said) == right


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        ("The sky is blue {}.", Score(5, 5, 5)),
        ("I see {}!", Score(5, 5, 0)),
        ("I see {}1!", Score(5, 0, 0)),
        ("", Score(5, 0, 0)),
    ],
)
def test_every_task_is_judged(say, expected, monkeypatch):
    """A model that says the sentence, one that says it otherwise, and two that are wrong."""

    def numbered(shown):
        number = str(shown.index)
        return Question(number, number, "any", f"The sky is blue {number}.")

    def answers(model, processor, asked, **_):
        return [say.format(text) for _, text in asked]

    monkeypatch.setattr(judged, "one_question", numbered)
    monkeypatch.setattr(judged, "answers", answers)
    monkeypatch.setattr(judged, "BATCH", 2)
    assert evaluate(None, None, "val", 5) == dict.fromkeys(TASKS, expected)


def test_a_random_model_answers_all_and_is_right_about_little(fresh, processor):
    told = []
    scores = evaluate(fresh(), processor, "val", 2, report=lambda task, _: told.append(task))
    assert set(told) == set(scores) == TASKS
    assert all(score.n == 2 and score.whole == 0 for score in scores.values())
    record = as_record(scores, "val")
    assert record["scores"]["ocr"]["n"] == 2
    assert "found" in record["judged"]
