"""Charts: bars and lines by matplotlib, whose values are whole numbers from 1 to 9 on an axis to 10.

At the smallest size a chart has 3 to 5 bars, or 2 to 3 lines through 3 to 5 points; at larger ones up to
9 bars or points and 5 lines. Bars of larger pictures may lie, beside words.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from foveate.scenes import axes
from foveate.scenes.drawn import Drawn, Wording, ask, one, some
from foveate.scenes.sample import COLOUR_NAMES, LETTERS, Question
from foveate.scenes.words import draw_words

MOST = 9
MOST_LINES = 5
WORDS_FIT = 320  # pixels of a picture in which words stand beside bars

WORDINGS = {
    "value": Wording(
        ("what is the value of {label}?", "how high is {label}?"),
        "the value of {label} is {answer}.",
    ),
    "with": Wording(
        ("which bar has the value {value}?", "which one is {value}?"),
        "{answer} has the value {value}.",
    ),
    "largest": Wording(
        ("which bar is the largest?", "which one has the largest value?"),
        "{answer} is the largest.",
    ),
    "smallest": Wording(
        ("which bar is the smallest?", "which one has the smallest value?"),
        "{answer} is the smallest.",
    ),
    "compare": Wording(
        ("is {label} larger than {other}?", "does {label} have more than {other}?"),
        "{answer}, {label} is {state} than {other}.",
    ),
    "bars": Wording(("how many bars are there?", "count the bars."), "there are {answer} bars."),
    "point": Wording(
        ("what is the {colour} line at {label}?", "read the {colour} line at {label}."),
        "the {colour} line is at {answer} at {label}.",
    ),
    "top": Wording(
        ("which line is highest at {label}?", "what colour is the top line at {label}?"),
        "the {answer} line is highest at {label}.",
    ),
    "trend": Wording(
        ("does the {colour} line go up or down from {label} to {other}?",),
        "the {colour} line goes {answer} from {label} to {other}.",
    ),
    "peak": Wording(
        ("where is the {colour} line highest?", "where does the {colour} line peak?"),
        "the {colour} line is highest at {answer}.",
    ),
    "lines": Wording(
        ("how many lines are there?", "count the lines."), "there are {answer} lines."
    ),
}


@dataclass(frozen=True)
class Chart:
    """What a chart shows.

    Attributes:
        kind: "bars" or "lines".
        labels: of the bars, or of the points on the axis.
        values: of the bars; of each line at each point.
        colours: of each bar; of each line.
        lies: whether bars go from left to right.
        has_grid: whether there are lines across at the axis' numbers.
        shade: of the ground behind, from 0 to 1.
    """

    kind: str
    labels: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    colours: tuple[str, ...]
    lies: bool
    has_grid: bool
    shade: float


def make(split: str, index: int, rng: np.random.Generator, size: int) -> Drawn:
    """Draw the chart's plan from `rng`."""
    count = int(rng.integers(3, min(MOST, size // 36 + 1) + 1))
    letters = some(LETTERS, rng, count)
    has_grid, shade = bool(rng.integers(2)), float(rng.random())
    if rng.integers(2):
        lines = int(rng.integers(2, min(MOST_LINES, size // 48) + 1))
        points = [1 + rng.permutation(MOST)[:lines] for _ in range(count)]
        values = tuple(tuple(int(point[line]) for point in points) for line in range(lines))
        colours = tuple(some(COLOUR_NAMES, rng, lines))
        plan = Chart("lines", tuple(sorted(letters)), values, colours, False, has_grid, shade)
    else:
        lies = size >= WORDS_FIT and bool(rng.integers(2))
        labels = tuple(draw_words(split, count, rng) if lies else letters)
        values = (tuple(int(value) for value in 1 + rng.permutation(MOST)[:count]),)
        colours = (one(COLOUR_NAMES, rng),) * count
        plan = Chart("bars", labels, values, colours, lies, has_grid, shade)
    return Drawn("charts", split, index, partial(questions, plan), size, plan, axes.paint)


def questions(plan: Chart, rng: np.random.Generator) -> list[Question]:
    """Questions of every family that this chart answers, at most `drawn.MANY` of each."""
    return (_of_bars if plan.kind == "bars" else _of_lines)(plan, rng)


def _of_bars(plan: Chart, rng: np.random.Generator) -> list[Question]:
    bars = dict(zip(plan.labels, plan.values[0], strict=True))
    asked = [
        ask(WORDINGS, "largest", max(bars, key=lambda label: bars[label]), rng),
        ask(WORDINGS, "smallest", min(bars, key=lambda label: bars[label]), rng),
        ask(WORDINGS, "bars", str(len(bars)), rng),
    ]
    for label in some(plan.labels, rng):
        asked.append(ask(WORDINGS, "value", str(bars[label]), rng, label=label))
        asked.append(ask(WORDINGS, "with", label, rng, value=str(bars[label])))
    first, *others = some(plan.labels, rng)
    for other in others:
        answer, state = ("yes", "larger") if bars[first] > bars[other] else ("no", "smaller")
        asked.append(ask(WORDINGS, "compare", answer, rng, label=first, other=other, state=state))
    return asked


def _of_lines(plan: Chart, rng: np.random.Generator) -> list[Question]:
    lines = dict(zip(plan.colours, plan.values, strict=True))
    asked = [ask(WORDINGS, "lines", str(len(lines)), rng)]
    for place in some(range(len(plan.labels)), rng):
        label, colour = plan.labels[place], one(plan.colours, rng)
        top = max(lines, key=lambda colour: lines[colour][place])
        asked.append(ask(WORDINGS, "top", top, rng, label=label))
        asked.append(
            ask(WORDINGS, "point", str(lines[colour][place]), rng, colour=colour, label=label)
        )
    return asked + [
        asked for colour in some(plan.colours, rng) for asked in _ways(plan, colour, rng)
    ]


def _ways(plan: Chart, colour: str, rng: np.random.Generator) -> list[Question]:
    """Where a line goes: up or down between two points, where these differ; and where it peaks."""
    values = plan.values[plan.colours.index(colour)]
    asked = []
    start, end = sorted(some(range(len(values)), rng, 2))
    if values[start] != values[end]:
        words = {"label": plan.labels[start], "other": plan.labels[end]}
        answer = "up" if values[end] > values[start] else "down"
        asked.append(ask(WORDINGS, "trend", answer, rng, colour=colour, **words))
    if values.count(max(values)) == 1:
        peak = plan.labels[values.index(max(values))]
        asked.append(ask(WORDINGS, "peak", peak, rng, colour=colour))
    return asked
