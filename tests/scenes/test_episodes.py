"""Episodes: the same every time, right, and only to be answered by who remembers."""

import re
from collections import Counter

import numpy as np
import pytest

from foveate.errors import InputError
from foveate.scenes import episodes, make
from foveate.scenes.episodes import FAMILIES, FEWEST, MOST
from foveate.scenes.ink import FIGURE, digit_ink
from foveate.scenes.sample import COLOUR_NAMES, SPLITS

PLAIN = ("newest", "older", "again")


def looked_up(screens, text):
    """The slow, obvious answer: the last screen that shows the digit, or the one that is named."""
    digit, *picture = re.findall(r"\d+", text)
    shown = screens[int(picture[0]) - 1 : int(picture[0])] if picture else screens
    found = [mark.colour for screen in shown for mark in screen.marks[0] if mark.character == digit]
    return found[-1]


def screens_with(episode, question):
    """Numbers of the screens that show the digit that a question is about."""
    digit = re.findall(r"\d", question.text)[0]
    return [
        number
        for number, screen in enumerate(episode.screens)
        if digit in {mark.character for mark in screen.marks[0]}
    ]


@pytest.fixture(params=SPLITS, scope="module")
def some(request):
    """Episodes of a split."""
    return [episodes.make(request.param, index) for index in range(60)]


def test_same_episode_whatever_is_made_around_it():
    alone = episodes.make("train", 7)
    episodes.make("train", 6)
    make("reasoning", "train", 7)
    again = episodes.make("train", 7)
    assert (alone.turns, alone.last, alone.about) == (again.turns, again.last, again.about)
    for one, other in zip(alone.screens, again.screens, strict=True):
        assert np.array_equal(one.frames(), other.frames())


def test_other_index_split_or_seed_is_another_episode():
    first = episodes.make("train", 0).screens[0].frame(0)
    others = episodes.make("train", 1), episodes.make("val", 0), episodes.make("train", 0, seed=1)
    for other in others:
        assert not np.array_equal(first, other.screens[0].frame(0))
    assert not np.array_equal(first, make("reasoning", "train", 0).frame(0))


def test_answers_are_what_one_sees(some):
    for episode in some:
        assert [question.family for question in episode.last] == list(FAMILIES)
        for question in episode.last:
            assert looked_up(episode.screens, question.text) == question.answer
        for number, question in enumerate(episode.turns):
            assert looked_up(episode.screens[: number + 1], question.text) == question.answer


def test_a_question_is_about_the_screens_that_its_family_says(some):
    for episode in some:
        newest = len(episode.screens) - 1
        about = dict(zip(FAMILIES, episode.about, strict=True))
        asked = {question.family: screens_with(episode, question) for question in episode.last}
        assert [asked[family] for family in PLAIN] == [[about[family]] for family in PLAIN]
        assert asked["changed"] == asked["numbered"] == [about["numbered"], about["changed"]]
        assert about["newest"] == newest
        assert max(about["older"], about["again"], about["changed"]) < newest
        changed, numbered = episode.last[3:]
        assert changed.answer != numbered.answer
        assert f"in picture {about['numbered'] + 1}?" in numbered.text


def test_no_turn_asks_what_is_asked_behind_the_last(some):
    for episode in some:
        said = {digit for turn in episode.turns for digit in re.findall(r"\d", turn.text)}
        assert not said & {re.findall(r"\d", question.text)[0] for question in episode.last}


def test_one_turn_comes_back_to_the_screen_of_again(some):
    for episode in some:
        (back,) = (n for n, turn in enumerate(episode.turns) if turn.family == "back")
        again = episode.about[FAMILIES.index("again")]
        assert screens_with(episode, episode.turns[back]) == [again]
        assert again + 1 < back < len(episode.screens) - 1
        own = [number for number in range(len(episode.screens)) if number != back]
        assert all(number in screens_with(episode, episode.turns[number]) for number in own)


def test_screens_are_as_many_as_said_and_of_the_split(some):
    counts = Counter(len(episode.screens) for episode in some)
    assert min(counts) >= FEWEST
    assert max(counts) <= MOST
    assert len(counts) > 8
    split = some[0].split
    inks = {ink.tobytes() for pool in digit_ink(split, FIGURE).values() for ink in pool}
    marks = [mark for episode in some[:5] for screen in episode.screens for mark in screen.marks[0]]
    assert all(mark.ink.tobytes() in inks for mark in marks)
    assert len(episodes.make(split, 0, length=9).screens) == 9


def test_one_fixed_answer_does_badly(some):
    answers = Counter(question.answer for episode in some for question in episode.last)
    assert set(answers) == set(COLOUR_NAMES)
    assert max(answers.values()) < 0.2 * sum(answers.values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dev", 0), "got 'dev'"),
        (("test", -1), "got -1"),
        (("test", 0, 0, 7), "from 8 to 20; got 7"),
    ],
)
def test_a_wrong_argument_is_told(arguments, told):
    with pytest.raises(InputError, match=told):
        episodes.make(*arguments)
