"""Screens: a title bar, and in each quarter a list, fields, buttons or switches; all named by words.

At the smallest size a quarter holds up to 4 lines, at larger ones up to 9.
"""

from functools import partial

import numpy as np

from foveate.scenes import widgets
from foveate.scenes.drawn import Drawn, Wording, ask, one, some
from foveate.scenes.sample import COLOUR_NAMES, Question
from foveate.scenes.widgets import KINDS, PLACES, Item, Panel, Screen
from foveate.scenes.words import draw_words

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
ACCENTS = tuple(name for name in COLOUR_NAMES if name != "white")

WORDINGS = {
    "nth": Wording(
        ("what is the {nth} item in the list?", "read the {nth} item of the list."),
        "the {nth} item in the list is {answer}.",
    ),
    "selected": Wording(
        ("which item is selected?", "which item of the list is marked?"), "{answer} is selected."
    ),
    "items": Wording(
        ("how many items are in the list?", "count the items in the list."),
        "there are {answer} items in the list.",
    ),
    "enabled": Wording(
        ("which button is enabled?", "which button can be pressed?"),
        "the button {answer} is enabled.",
    ),
    "disabled": Wording(
        ("which button is disabled?", "which button is greyed out?"),
        "the button {answer} is disabled.",
    ),
    "field": Wording(
        ("what does the field {label} say?", "what is entered in {label}?"),
        "{label} says {answer}.",
    ),
    "switch": Wording(
        ("is {label} on?", "is the switch {label} turned on?"), "{answer}, {label} is {state}."
    ),
    "where": Wording(
        ("where is the {thing}?", "in which corner is the {thing}?"),
        "the {thing} is at the {answer}.",
    ),
    "title": Wording(
        ("what is the title?", "read the title of the window."), "the title is {answer}."
    ),
}
NAMED = {"buttons": "button", "fields": "field", "switches": "switch"}


def make(split: str, index: int, rng: np.random.Generator, size: int) -> Drawn:
    """Draw the screen's plan from `rng`."""
    room = widgets.lines(size)
    counts = {kind: int(rng.integers(2, room // (1 + (kind == "fields")) + 1)) for kind in KINDS}
    title, *words = draw_words(split, 1 + sum(counts.values()) + counts["fields"], rng)
    values = [words.pop() for _ in range(counts["fields"])]
    panels = {
        "list": _list([words.pop() for _ in range(counts["list"])], rng),
        "fields": tuple(Item(words.pop(), on=True, value=value) for value in values),
        "buttons": _buttons([words.pop() for _ in range(counts["buttons"])], rng),
        "switches": tuple(Item(word, on=bool(rng.integers(2))) for word in words),
    }
    order = some(KINDS, rng, len(KINDS))
    plan = Screen(
        title=title,
        panels=tuple(Panel(kind, panels[kind]) for kind in order),
        face=one(("sans", "mono"), rng),
        is_dark=bool(rng.integers(2)),
        accent=one(ACCENTS, rng),
    )
    return Drawn("screens", split, index, partial(questions, plan), size, plan, widgets.paint)


def _list(words: list[str], rng: np.random.Generator) -> tuple[Item, ...]:
    """One of the items is selected."""
    selected = int(rng.integers(len(words)))
    return tuple(Item(word, on=place == selected) for place, word in enumerate(words))


def _buttons(words: list[str], rng: np.random.Generator) -> tuple[Item, ...]:
    """One button is enabled and all others are not, or the other way round."""
    odd, enabled = int(rng.integers(len(words))), bool(rng.integers(2))
    return tuple(Item(word, on=enabled == (place == odd)) for place, word in enumerate(words))


def questions(plan: Screen, rng: np.random.Generator) -> list[Question]:
    """Questions of every family, at most `drawn.MANY` of each."""
    panels = {panel.kind: panel.items for panel in plan.panels}
    asked = [
        ask(WORDINGS, "title", plan.title, rng),
        ask(WORDINGS, "items", str(len(panels["list"])), rng),
        *_buttons_asked(panels["buttons"], rng),
    ]
    for place, item in some(list(enumerate(panels["list"])), rng):
        asked.append(ask(WORDINGS, "nth", item.label, rng, nth=ORDINALS[place]))
    selected = next(item.label for item in panels["list"] if item.on)
    asked.append(ask(WORDINGS, "selected", selected, rng))
    fields = some(panels["fields"], rng)
    asked += [ask(WORDINGS, "field", item.value, rng, label=item.label) for item in fields]
    for item in some(panels["switches"], rng):
        answer, state = ("yes", "on") if item.on else ("no", "off")
        asked.append(ask(WORDINGS, "switch", answer, rng, label=item.label, state=state))
    return asked + _places(plan, rng)


def _buttons_asked(buttons: tuple[Item, ...], rng: np.random.Generator) -> list[Question]:
    """Which is the one that is enabled, or the one that is not; both, of two."""
    asked = []
    for family, on in (("enabled", True), ("disabled", False)):
        labels = [item.label for item in buttons if item.on == on]
        if len(labels) == 1:
            asked.append(ask(WORDINGS, family, labels[0], rng))
    return asked


def _places(plan: Screen, rng: np.random.Generator) -> list[Question]:
    """In which corner things are."""
    things = []
    for place, panel in zip(PLACES, plan.panels, strict=True):
        if panel.kind == "list":
            things.append(("list", place))
        else:
            things += [(f"{NAMED[panel.kind]} {item.label}", place) for item in panel.items]
    return [ask(WORDINGS, "where", place, rng, thing=thing) for thing, place in some(things, rng)]
