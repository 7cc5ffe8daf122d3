import numpy as np
import pytest

from foveate.ask.media import Clip
from foveate.errors import InputError
from foveate.measure.tasks import task, tasks
from foveate.measure.tasks.scenes import NAMES, Scenes
from foveate.scenes import one_question, questions, scene


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_those_of_the_scenes(name):
    asked = task(name)
    for index, (images, question, answer, family) in enumerate(questions(name, "test", 3)):
        item = asked.item(index)
        (shown,) = item.media
        frames = shown.frames if isinstance(shown, Clip) else [shown]
        assert np.array_equal(np.stack(frames), np.stack(images))
        assert (item.question, item.answers[0], item.kind) == (question, answer, family)
        assert asked.score(item, answer) == 1
        assert asked.score(item, answer + " ") == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_expected_sentence_is_right_too(name):
    asked, sentence = task(name), one_question(scene(name, "test", 0)).sentence
    assert sentence.endswith(".")
    assert asked.score(asked.item(0), sentence) == 1
    assert asked.score(asked.item(0), sentence + " It is.") == 0


def test_names_and_splits():
    assert set(NAMES) <= set(tasks())
    assert Scenes("ocr", "val").identity() == {"name": "ocr", "split": "val"}
    assert Scenes("charts", side=200).item(3).media[0].size == (200, 200)
    assert Scenes("charts", side=200).identity() != Scenes("charts").identity()
    with pytest.raises(InputError, match=r"size is for documents, .*; got 200 for ocr"):
        Scenes("ocr", side=200).item(0)
    with pytest.raises(InputError, match="split must be one of test, val; got 'train'"):
        Scenes("ocr", "train")
    with pytest.raises(InputError, match=r"unknown task 'chess'; known: .*ocr.*\.jsonl"):
        task("chess")
