"""Scenes: the same every time, right, balanced, and with nothing shared between splits."""

from collections import Counter

import numpy as np
import pytest

from foveate.errors import InputError
from foveate.scenes import TASKS, make, one_question, questions
from foveate.scenes.ink import FIGURE, WRITING, digit_ink, letter_ink, split_of
from foveate.scenes.photos import area, photos
from foveate.scenes.sample import COLOUR_NAMES, GRID, SPLITS
from foveate.scenes.words import TEST_WORDS, TRAIN_WORDS, VAL_WORDS
from scene_twin import answer_by_looking


@pytest.mark.parametrize("task", TASKS)
def test_same_sample_whatever_is_made_around_it(task):
    alone = make(task, "train", 7)
    make(task, "train", 6)
    make("reasoning", "val", 7)
    again = make(task, "train", 7)
    assert np.array_equal(alone.frames(), again.frames())
    assert one_question(alone) == one_question(again)


@pytest.mark.parametrize("task", TASKS)
def test_other_index_split_or_seed_is_another_sample(task):
    first = make(task, "train", 0).frames()[0]
    for other in (make(task, "train", 1), make(task, "val", 0), make(task, "train", 0, seed=1)):
        assert not np.array_equal(first, other.frames()[0])


def test_questions_ask_about_the_samples_in_order():
    for index, (images, text, answer, family) in enumerate(questions("ocr", "test", 5)):
        sample = make("ocr", "test", index)
        assert np.array_equal(np.asarray(images[0]), sample.frame(0))
        asked = one_question(sample)
        assert (text, answer, family) == (asked.text, asked.answer, asked.family)


@pytest.mark.parametrize("cells", [WRITING, FIGURE])
def test_no_glyph_is_in_two_splits(cells):
    assert {split_of(number) for number in range(20)} == set(SPLITS)
    inks = {
        split: {ink.tobytes() for pool in digit_ink(split, cells).values() for ink in pool}
        for split in SPLITS
    }
    assert not inks["train"] & inks["val"]
    assert not inks["train"] & inks["test"]
    assert not inks["val"] & inks["test"]
    assert sum(split_of(number) == "test" for number in range(1000)) == 200


def test_no_photo_pixel_is_in_two_splits():
    for photo in photos():
        width = photo.shape[1]
        owners = [
            [split for split in SPLITS if area(width, split)[0] <= x < area(width, split)[1]]
            for x in range(width)
        ]
        assert all(len(owner) == 1 for owner in owners)


def test_each_split_has_words_of_its_own():
    assert not set(TRAIN_WORDS) & set(VAL_WORDS + TEST_WORDS)
    assert not set(VAL_WORDS) & set(TEST_WORDS)
    assert all(3 <= len(word) <= 8 for word in TRAIN_WORDS + VAL_WORDS + TEST_WORDS)
    printed = Counter(q.family for index in range(200) for q in _all(make("ocr", "train", index)))
    assert printed["word_unseen"] == 0
    assert printed["word"] > 100


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_what_one_sees(task, split):
    for index in range(100):
        sample = make(task, split, index)
        for question in _all(sample):
            assert answer_by_looking(sample.marks, question.text) == question.answer, question


@pytest.mark.parametrize(("task", "most"), [("reasoning", 0.2), ("ocr", 0.05), ("video", 0.2)])
def test_one_fixed_answer_does_badly(task, most):
    answers = Counter(one_question(make(task, "test", index)).answer for index in range(600))
    assert answers.most_common(1)[0][1] / 600 < most


def test_yes_and_no_are_as_likely():
    asked = [
        q for task in ("reasoning", "video") for i in range(300) for q in _all(make(task, "val", i))
    ]
    yes = [q.answer == "yes" for q in asked if q.family == "exists"]
    assert abs(np.mean(yes) - 0.5) < 0.05


def test_counts_and_directions_are_even():
    counts = Counter(len(make("reasoning", "val", index).marks[0]) for index in range(500))
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 90
    ways = Counter(
        q.answer
        for i in range(600)
        for q in _all(make("video", "val", i))
        if q.family == "direction"
    )
    assert set(ways) == {"left", "right", "up", "down"}
    assert min(ways.values()) > 20


def test_a_needle_shows_in_one_or_two_frames_only():
    for index in range(200):
        sample = make("video", "train", index)
        for question in _all(sample):
            if question.family == "needle" and question.answer.isdigit():
                shown = [
                    any(m.character == question.answer for m in frame) for frame in sample.marks
                ]
                assert 1 <= sum(shown) <= 2


@pytest.mark.parametrize("task", TASKS)
def test_labels_say_what_each_patch_shows(task):
    for index in range(30):
        sample = make(task, "train", index)
        labels = {name: plane.reshape(GRID, GRID) for name, plane in sample.labels(0).items()}
        expected = np.zeros((GRID, GRID), dtype=int)
        for mark in sample.marks[0]:
            for row in range(GRID):
                for column in range(GRID):
                    if _covered(mark, column, row) > 0.25:
                        expected[row, column] += 1
                        assert labels["colour"][row, column] == 1 + COLOUR_NAMES.index(mark.colour)
        assert np.array_equal(expected, labels["character"] > 0)


def test_what_is_drawn_is_where_the_label_says():
    sample = make("reasoning", "train", 3)
    bare = sample.background.astype(int)
    changed = np.abs(sample.frame(0).astype(int) - bare).sum(-1) > 60
    by_patch = changed.reshape(GRID, 12, GRID, 12).any(axis=(1, 3)).reshape(-1)
    shown = sample.labels(0)["character"] > 0
    assert by_patch[shown].mean() > 0.8
    assert by_patch[~shown].mean() < 0.1


def test_ink_is_a_share_and_every_letter_differs():
    inks = list(letter_ink().values())
    assert len({ink.tobytes() for ink in inks}) == 26
    assert all(ink.shape == (24, 12) and ink.max() > 0.5 and ink.max() <= 1 for ink in inks)


@pytest.mark.parametrize("length", [4, 5, 16])
def test_a_clip_has_the_length_asked_for(length):
    assert make("video", "val", 0, length=length).frames().shape == (length, 144, 144, 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("maths", "test", 0), "got 'maths'"),
        (("ocr", "dev", 0), "got 'dev'"),
        (("ocr", "test", -1), "got -1"),
        (("ocr", "test", 0, 0, 8), "got 8 for ocr"),
        (("video", "test", 0, 0, 17), "got 17"),
    ],
)
def test_a_wrong_argument_is_told(arguments, told):
    with pytest.raises(InputError, match=told):
        make(*arguments)


def _all(sample):
    return sample.ask(np.random.default_rng(sample.index))


def _covered(mark, column, row):
    """Share of the mark's box that lies in one patch, each side measured in pixels."""
    height, width = mark.ink.shape
    x = min(max(12 * mark.column + mark.jitter[0], 0), 144 - width)
    y = min(max(12 * mark.row + mark.jitter[1], 0), 144 - height)
    across = max(0, min(x + width, 12 * column + 12) - max(x, 12 * column))
    down = max(0, min(y + height, 12 * row + 12) - max(y, 12 * row))
    return across * down / 144
