"""Drawn scenes: the same every time, at any size, right, not to be guessed, and apart between splits."""

import re
from collections import Counter, defaultdict
from math import sqrt

import numpy as np
import pytest
from PIL import ImageDraw

from drawn_twin import answer_from
from foveate.errors import InputError
from foveate.scenes import DRAWN, TASKS, draw, make, one_question, questions, scene
from foveate.scenes.sample import SPLITS
from foveate.scenes.words import TEST_WORDS, TRAIN_WORDS, VAL_WORDS

OWN = {"train": (), "val": VAL_WORDS, "test": TEST_WORDS}
PRINTED = ("documents", "screens")
# of families with few answers, one by how many there are at the smallest size; words have more than 20
CHANCE = {
    "items": 1 / 3, "ticked": 1 / 2, "value": 1 / 9, "compare": 1 / 2, "bars": 1 / 3, "point": 1 / 9,
    "top": 1 / 8, "trend": 1 / 2, "lines": 1 / 2, "switch": 1 / 2, "blurred": 1 / 7,
    "brightest": 1 / 7, "darkest": 1 / 7, "pattern": 1 / 5,
}  # fmt: skip
WHERE = {"screens": 1 / 4, "texture": 1 / 7}


def asked(drawn):
    return drawn.ask(np.random.default_rng(drawn.index))


@pytest.mark.parametrize("size", [144, 448])
@pytest.mark.parametrize("task", DRAWN)
def test_same_picture_whatever_is_drawn_around_it(task, size):
    alone = draw(task, "train", 7, size=size)
    before = alone.frame(0)
    for other in DRAWN:
        for index in range(6):
            draw(other, "val", index, size=size).frame(0)
    again = draw(task, "train", 7, size=size)
    assert alone.plan == again.plan
    assert np.array_equal(before, again.frame(0))
    assert one_question(alone) == one_question(again)


@pytest.mark.parametrize("task", DRAWN)
def test_no_picture_is_drawn_twice(task):
    others = [(split, seed) for split in SPLITS for seed in (0, 1)]
    plans = Counter(repr(draw(task, *at, seed).plan) for *at, seed in _places(others, 200))
    assert max(plans.values()) == 1
    frames = {
        draw(task, *at, seed, size=144).frame(0).tobytes() for *at, seed in _places(others, 4)
    }
    assert len(frames) == 4 * len(others)


def _places(others, count):
    return [(split, index, seed) for split, seed in others for index in range(count)]


@pytest.mark.parametrize("task", DRAWN)
@pytest.mark.parametrize("size", [144, 147, 448, 896])
def test_a_picture_has_the_size_asked_for(task, size):
    drawn = draw(task, "val", 3, size=size)
    assert drawn.frames().shape == (1, size, size, 3)
    assert drawn.frames().dtype == np.uint8
    assert [image.size for image in drawn.images()] == [(size, size)]
    assert not drawn.is_video


@pytest.mark.parametrize("size", [144, 448, 1344])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", DRAWN)
def test_answers_are_what_the_plan_says(task, split, size):
    for index in range(60):
        drawn = draw(task, split, index, size=size)
        for question in asked(drawn):
            assert answer_from(task, drawn.plan, question.text) == question.answer, question


@pytest.mark.parametrize("task", [*TASKS, *DRAWN])
def test_a_sentence_says_the_answer(task):
    for index in range(100):
        for question in asked(scene(task, "test", index, size=144)):
            assert re.search(rf"\b{question.answer}\b", question.sentence, re.IGNORECASE)
            assert re.fullmatch(r"[A-Z][^{}]+\.", question.sentence)
            assert re.fullmatch(r"[a-z][^{}]+[.?]", question.text)


@pytest.mark.parametrize("size", [144, 448])
@pytest.mark.parametrize("task", DRAWN)
def test_no_answer_is_guessed_from_the_question(task, size):
    """The commonest answer to a text, else to its family, is right as often as by chance."""
    known, families = defaultdict(Counter), defaultdict(Counter)
    right = defaultdict(list)
    for index in range(1000):
        for question in asked(draw(task, "train", index, size=size)):
            if index < 500:
                known[question.text][question.answer] += 1
                families[question.family][question.answer] += 1
                continue
            seen = known[question.text]
            common = seen if seen.total() > 20 else families[question.family]
            right[question.family].append(common.most_common(1)[0][0] == question.answer)
    assert set(right) == set(families)
    for family, hits in right.items():
        chance = WHERE[task] if family == "where" else CHANCE.get(family, 1 / 20)
        assert np.mean(hits) < chance + 4 * sqrt(chance * (1 - chance) / len(hits)), family
        assert len(hits) > 50, family


@pytest.mark.parametrize("task", DRAWN)
def test_families_are_asked_evenly_and_one_answer_does_badly(task):
    drawn = [one_question(draw(task, "test", index, size=144)) for index in range(800)]
    families = Counter(question.family for question in drawn)
    assert min(families.values()) > 0.02 * len(drawn)
    answers = Counter(question.answer for question in drawn)
    assert max(answers.values()) < 0.15 * len(drawn)


@pytest.mark.parametrize("task", [*PRINTED, "charts"])
@pytest.mark.parametrize("split", SPLITS)
def test_each_split_prints_words_of_its_own(task, split):
    plans = [repr(draw(task, split, index, size=448).plan) for index in range(60)]
    printed = set(re.findall(r"'([A-Z]{3,8})'", " ".join(plans)))
    others = set(VAL_WORDS + TEST_WORDS) - set(OWN[split])
    assert not printed & others
    assert printed & set(TRAIN_WORDS)
    assert len(printed & set(OWN[split])) >= 0.5 * len(OWN[split])


@pytest.mark.parametrize("size", [144, 200, 448, 1344])
@pytest.mark.parametrize("task", PRINTED)
def test_words_can_be_read(task, size, monkeypatch):
    """Each is inside the picture, over no other, and across no edge of a box."""
    text, box = ImageDraw.ImageDraw.text, ImageDraw.ImageDraw.rounded_rectangle
    words, boxes = [], []

    def note(pen, xy, word, ink, font, anchor):
        words.append((word, pen.textbbox(xy, word, font=font, anchor=anchor)))
        text(pen, xy, word, ink, font, anchor)

    def note_box(pen, xy, *arguments):
        boxes.append(xy)
        box(pen, xy, *arguments)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    monkeypatch.setattr(ImageDraw.ImageDraw, "rounded_rectangle", note_box)
    for index in range(150 if size < 448 else 40):
        words.clear()
        boxes.clear()
        draw(task, "train", index, size=size).frame(0)
        assert len(words) > 3
        for number, (word, ink) in enumerate(words):
            assert min(ink) >= 0, word
            assert max(ink) <= size, word
            for other, over in words[:number]:
                assert not _meet(ink, over), (word, other)
            for edge in boxes:
                assert not _meet(ink, edge) or _inside(ink, edge), word


def _meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(one, other):
    return one[0] >= other[0] and one[1] >= other[1] and one[2] <= other[2] and one[3] <= other[3]


def test_questions_are_asked_about_every_task_and_size():
    for index, item in enumerate(questions("screens", "test", 3, seed=2, size=256)):
        images, text, answer, family = item
        drawn = draw("screens", "test", index, seed=2, size=256)
        question = one_question(drawn, seed=2)
        assert np.array_equal(np.asarray(images[0]), drawn.frame(0))
        assert (text, answer, family) == (question.text, question.answer, question.family)
    assert np.array_equal(scene("ocr", "val", 4).frames(), make("ocr", "val", 4).frames())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("maths", "test", 0), "task must be one of reasoning, .*, texture; got 'maths'"),
        (("charts", "dev", 0), "got 'dev'"),
        (("charts", "test", -1), "got -1"),
        (("charts", "test", 0, 0, 143), "size must be from 144 to 2048; got 143"),
        (("ocr", "test", 0, 0, 448), "size is for documents, .*; got 448 for ocr"),
    ],
)
def test_a_wrong_argument_is_told(arguments, told):
    with pytest.raises(InputError, match=told):
        scene(*arguments)


def test_draw_is_for_what_has_any_size():
    with pytest.raises(InputError, match=r"task must be one of documents, .*; got 'ocr'"):
        draw("ocr", "test", 0)
