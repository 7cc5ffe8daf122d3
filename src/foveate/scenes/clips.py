"""Clips of 4 to 16 frames: handwritten digits that appear or move over one still photo.

Four kinds: digits that *appear* one after another and stay; one digit that *moves*; a *needle*, a
digit that flashes for one or two frames beside digits that stay; a *parade*, one digit at a time,
some coming back. Digits of a clip differ in digit, colour and place.
"""

from dataclasses import dataclass, replace

import numpy as np

from foveate.scenes.ink import FIGURE, digit_ink
from foveate.scenes.photos import background
from foveate.scenes.phrasing import ask
from foveate.scenes.reasoning import PLACES, exists, jitter, scatter
from foveate.scenes.sample import COLOUR_NAMES, DIGITS, GRID, Mark, Question, Sample

KINDS = ("appear", "move", "needle", "parade")
LENGTHS = (4, 6, 8, 12, 16)
LENGTH_SHARES = (0.25, 0.25, 0.3, 0.1, 0.1)
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_BANDS = GRID // FIGURE


@dataclass(frozen=True)
class Actor:
    """One digit of a clip, and its cell (column, row) in each frame; None while not there."""

    mark: Mark
    cells: tuple[tuple[int, int] | None, ...]


def make(split: str, index: int, rng: np.random.Generator, length: int | None = None) -> Sample:
    """Draw the clip's plan from `rng`; of `length` frames, if given."""
    drawn_length = int(rng.choice(LENGTHS, p=LENGTH_SHARES))
    length = length or drawn_length
    kind = KINDS[rng.integers(len(KINDS))]
    direction = str(rng.choice(list(DIRECTIONS)))
    plans = {
        "appear": lambda: _appear(length, rng),
        "move": lambda: _move(length, direction, rng),
        "needle": lambda: _needle(length, rng),
        "parade": lambda: _parade(length, rng),
    }
    actors = _cast(plans[kind](), split, rng)
    return Sample(
        task="video",
        split=split,
        index=index,
        background=background(split, rng),
        marks=tuple(
            tuple(_placed(actor, number) for actor in actors if actor.cells[number] is not None)
            for number in range(length)
        ),
        ask=lambda asking: _questions(kind, direction, actors, asking),
    )


def _cast(paths: list, split: str, rng: np.random.Generator) -> list[Actor]:
    """Give each path its own digit and colour."""
    digits, colours = rng.permutation(10), rng.permutation(len(COLOUR_NAMES))
    actors = []
    for place, cells in enumerate(paths):
        digit = DIGITS[digits[place]]
        pool = digit_ink(split, FIGURE)[digit]
        mark = Mark(
            character=digit,
            colour=COLOUR_NAMES[colours[place]],
            column=0,
            row=0,
            jitter=jitter(rng),
            ink=pool[rng.integers(len(pool))],
        )
        actors.append(Actor(mark, tuple(cells)))
    return actors


def _placed(actor: Actor, number: int) -> Mark:
    """The actor's mark where it is in frame `number`."""
    cell = actor.cells[number]
    if cell is None:
        raise ValueError(f"{actor.mark.character} is not there in frame {number}")
    return replace(actor.mark, column=cell[0], row=cell[1])


def _appear(length: int, rng: np.random.Generator) -> list:
    """2 to 4 digits that appear at different frames and stay."""
    count = int(rng.integers(2, 5))
    starts = np.sort(rng.permutation(length)[:count])
    return [
        [None] * int(start) + [place] * int(length - start)
        for start, place in zip(starts, scatter(count, rng), strict=True)
    ]


def _move(length: int, direction: str, rng: np.random.Generator) -> list:
    """First the digit that moves by 4 to 8 cells in even steps, then perhaps one that stays."""
    step = np.array(DIRECTIONS[direction])
    distance = int(rng.integers(4, PLACES))
    along = int(rng.integers(PLACES - distance))
    bands = FIGURE * rng.permutation(_BANDS)[:2]
    if step.sum() < 0:
        along += distance
    way = [along + step.sum() * round(distance * n / (length - 1)) for n in range(length)]
    horizontal = step[0] != 0
    moving = [(int(w), int(bands[0])) if horizontal else (int(bands[0]), int(w)) for w in way]
    across = int(rng.integers(PLACES))
    still = (across, int(bands[1])) if horizontal else (int(bands[1]), across)
    return [moving, [still] * length][: 1 + int(rng.integers(2))]


def _needle(length: int, rng: np.random.Generator) -> list:
    """First the digit that shows for one or two frames, then one or two that stay for the whole clip."""
    shown = int(rng.integers(1, 3))
    start = int(rng.integers(length - shown + 1))
    needle, *others = scatter(int(rng.integers(2, 4)), rng)
    flash = [needle if start <= n < start + shown else None for n in range(length)]
    return [flash] + [[place] * length for place in others]


def _parade(length: int, rng: np.random.Generator) -> list:
    """1 to 4 different digits, one at a time, in a random order; each has its own place."""
    count = int(rng.integers(1, 5))
    order = np.concatenate([np.arange(count), rng.integers(count, size=length - count)])
    turns = rng.permutation(order)
    places = scatter(count, rng)
    return [[places[who] if turn == who else None for turn in turns] for who in range(count)]


def _questions(
    kind: str, direction: str, actors: list[Actor], rng: np.random.Generator
) -> list[Question]:
    """Every question that this clip answers, each with a phrasing drawn from `rng`."""
    marks = tuple(actor.mark for actor in actors)
    digits = [mark.character for mark in marks]
    asked = exists(marks, rng)
    for mark in marks:
        asked.append(ask("colour", mark.colour, rng, digit=mark.character))
    if kind == "appear":
        asked.append(ask("first", digits[0], rng))
        asked.append(ask("last", digits[-1], rng))
    elif kind == "move":
        asked.append(ask("direction", direction, rng, digit=digits[0]))
        asked.append(ask("mover", digits[0], rng))
    elif kind == "needle":
        asked.append(ask("needle", digits[0], rng))
        asked.append(ask("needle_colour", marks[0].colour, rng, "needle"))
    else:
        asked.append(ask("different", str(len(actors)), rng))
    return asked
