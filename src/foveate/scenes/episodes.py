"""Episodes: 8 to 20 screens one after another, and questions that only who remembers can answer.

Each screen is a picture of two or three handwritten digits, and comes with a question of its own. Behind
the last one stand questions of five families, one of each:

- `newest`: the colour of a digit that the last screen alone shows;
- `older`: of one that one earlier screen alone shows, and that no turn asked about;
- `again`: the same, of a screen to which a turn halfway came back, for another of its digits;
- `changed`: of one that two earlier screens show in different colours: the later one is right;
- `numbered`: the same one's colour in the earlier of the two, which the question names by its number.

All but the last are worded as foveate-mini learnt them. Every answer is a colour, and no turn gives away
the answer to a last question. As with all scenes, (split, index, seed) gives the same episode every time,
and splits share no glyph and no photo pixel.

    >>> episode = make("test", 0)
    >>> for screen, question in zip(episode.screens, episode.turns): ...
    >>> for question in episode.last: ...
"""

from dataclasses import dataclass

import numpy as np

from foveate.errors import InputError
from foveate.scenes.ink import FIGURE, digit_ink
from foveate.scenes.photos import background
from foveate.scenes.phrasing import ask
from foveate.scenes.reasoning import jitter, questions, scatter
from foveate.scenes.sample import COLOUR_NAMES, DIGITS, SPLITS, Mark, Question, Sample

FEWEST, MOST = 8, 20
FAMILIES = ("newest", "older", "again", "changed", "numbered")
_STREAM = 100  # of random numbers, none of another task's
_COMMON = 5  # digits that any screen may show


@dataclass(frozen=True)
class Episode:
    """Screens in order, what is asked with each, and what is asked behind the last.

    Attributes:
        split: of glyphs and photos.
        index: its number in the split.
        screens: pictures.
        turns: for each screen the question that comes with it, of the family `own`; or `back`, about an
            earlier one.
        last: a question of each of `FAMILIES`, in that order.
        about: for each of these the screen that it is about.
    """

    split: str
    index: int
    screens: tuple[Sample, ...]
    turns: tuple[Question, ...]
    last: tuple[Question, ...]
    about: tuple[int, ...]


@dataclass(frozen=True)
class _Cast:
    """Which screen shows which digit for a last question's sake; all numbers are of screens."""

    older: int
    again: int
    back: int
    before: int
    after: int
    newest: int


def make(split: str, index: int, seed: int = 0, length: int | None = None) -> Episode:
    """Episode `index` of a split.

    Args:
        split: "train", "val" or "test".
        index: any number from 0; splits are endless.
        seed: another seed gives another, disjoint, endless split.
        length: screens, 8 to 20; by default drawn.

    Raises:
        InputError: another split, index or length.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if index < 0:
        raise InputError(f"index must be 0 or more; got {index}")
    if length is not None and not FEWEST <= length <= MOST:
        raise InputError(f"length must be from {FEWEST} to {MOST}; got {length}")
    rng = np.random.default_rng([seed, _STREAM, SPLITS.index(split), index])
    drawn = int(rng.integers(FEWEST, MOST + 1))
    cast = _cast(length or drawn, rng)
    order = [DIGITS[place] for place in rng.permutation(len(DIGITS))]
    common, own = order[:_COMMON], order[_COMMON:]
    screens: list[Sample] = []
    for number in range(cast.newest + 1):
        roles = _digits(cast, own).get(number, [])
        spare = rng.permutation(common)[: 1 if roles else 2]
        unlike = _colour(screens[cast.before], own[-1]) if number == cast.after else None
        screens.append(_screen(split, index, [*roles, *map(str, spare)], unlike, rng))
    turns = tuple(
        _about(screens[cast.again], own[3], "back", rng)
        if number == cast.back
        else _about(screen, screen.marks[0][-1].character, "own", rng)
        for number, screen in enumerate(screens)
    )
    last = _last(screens, cast, own, rng)
    about = (cast.newest, cast.older, cast.again, cast.after, cast.before)
    return Episode(split, index, tuple(screens), turns, last, about)


def _cast(length: int, rng: np.random.Generator) -> _Cast:
    """Give the parts to screens of their own; a turn comes back halfway, not at once."""
    newest = length - 1
    while True:
        older, again, before, after = (int(place) for place in rng.permutation(newest)[:4])
        if before < after and again < newest - 2:
            back = int(rng.integers(again + 2, newest))
            return _Cast(older, again, back, before, after, newest)


def _digits(cast: _Cast, own: list[str]) -> dict[int, list[str]]:
    """The digits that screens show for a last question's sake."""
    newest, older, again, came_back, changed = own
    return {
        cast.newest: [newest],
        cast.older: [older],
        cast.again: [again, came_back],
        cast.before: [changed],
        cast.after: [changed],
    }


def _screen(
    split: str, index: int, digits: list[str], unlike: str | None, rng: np.random.Generator
) -> Sample:
    """A picture of these digits, each of its own colour; the first is not of the colour `unlike`."""
    colours = [COLOUR_NAMES[place] for place in rng.permutation(len(COLOUR_NAMES))]
    if colours[0] == unlike:
        del colours[0]
    marks = []
    for digit, colour, (column, row) in zip(
        digits, colours, scatter(len(digits), rng), strict=False
    ):
        pool = digit_ink(split, FIGURE)[digit]
        ink = pool[rng.integers(len(pool))]
        marks.append(Mark(digit, colour, column, row, jitter(rng), ink))
    drawn = tuple(marks)
    return Sample(
        task="episode",
        split=split,
        index=index,
        background=background(split, rng),
        marks=(drawn,),
        ask=lambda asking: questions(drawn, asking),
    )


def _last(
    screens: list[Sample], cast: _Cast, own: list[str], rng: np.random.Generator
) -> tuple[Question, ...]:
    """The questions behind the last screen."""
    newest, older, again, _, changed = own
    plain = (
        ("newest", cast.newest, newest),
        ("older", cast.older, older),
        ("again", cast.again, again),
        ("changed", cast.after, changed),
    )
    asked = [_about(screens[number], digit, family, rng) for family, number, digit in plain]
    text = f"what colour is the {changed} in picture {cast.before + 1}?"
    colour = _colour(screens[cast.before], changed)
    return (*asked, Question(text, colour, "numbered"))


def _about(screen: Sample, digit: str, family: str, rng: np.random.Generator) -> Question:
    """The question about the colour of a digit of a screen."""
    return ask("colour", _colour(screen, digit), rng, family, digit=digit)


def _colour(screen: Sample, digit: str) -> str:
    """The colour in which a screen shows a digit."""
    return next(mark.colour for mark in screen.marks[0] if mark.character == digit)
