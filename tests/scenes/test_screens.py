"""Screens: every part is somewhere, and whatever is asked about can be seen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from foveate.scenes import draw
from foveate.scenes.screens import WORDINGS
from foveate.scenes.widgets import KINDS, PLACES


def test_every_part_is_anywhere():
    plans = [draw("screens", "val", index, size=144).plan for index in range(400)]
    places = Counter(
        (panel.kind, place)
        for plan in plans
        for place, panel in zip(PLACES, plan.panels, strict=True)
    )
    assert len(places) == len(KINDS) * len(PLACES)
    assert min(places.values()) > 70
    for plan in plans:
        words = [item.label for panel in plan.panels for item in panel.items]
        assert len(set(words)) == len(words)


def test_every_family_is_asked_and_counts_are_even():
    drawn = [draw("screens", "val", index, size=144) for index in range(300)]
    asked = [q for one in drawn for q in one.ask(np.random.default_rng(one.index))]
    assert {question.family for question in asked} == set(WORDINGS)
    counts = Counter(question.answer for question in asked if question.family == "items")
    assert set(counts) == {"2", "3", "4"}
    assert min(counts.values()) > 70


@pytest.mark.parametrize("size", [144, 448])
def test_whatever_a_screen_says_can_be_seen(size):
    """Another label, value or state is another picture."""
    for index in range(12):
        drawn = draw("screens", "test", index, size=size)
        seen = drawn.frame(0)
        plans = [replace(drawn.plan, title="XXX")]
        for number, panel in enumerate(drawn.plan.panels):
            for place, item in enumerate(panel.items):
                for other in changed(panel.kind, item):
                    items = (*panel.items[:place], other, *panel.items[place + 1 :])
                    panels = list(drawn.plan.panels)
                    panels[number] = replace(panel, items=items)
                    plans.append(replace(drawn.plan, panels=tuple(panels)))
        for plan in plans:
            # by more than a few pixels: a shade or a stroke would do for a program only
            there = (replace(drawn, plan=plan).frame(0) != seen).any(axis=-1)
            assert there.sum() > 8, plan


def changed(kind, item):
    yield replace(item, label="XXX")
    yield replace(item, value="XXX") if kind == "fields" else replace(item, on=not item.on)
