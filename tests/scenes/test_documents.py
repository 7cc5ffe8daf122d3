"""Documents: all kinds, and everything that is asked about is on the sheet."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from foveate.scenes import draw
from foveate.scenes.documents import KINDS, WORDINGS
from foveate.scenes.paper import BLANK, TICK


def test_kinds_counts_and_families():
    drawn = [draw("documents", "val", index, size=144) for index in range(400)]
    kinds = Counter(one.plan.kind for one in drawn)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 70
    counts = Counter(len(one.plan.rows) for one in drawn if one.plan.kind == "receipt")
    assert set(counts) == {3, 4, 5, 6}
    asked = {q.family for one in drawn for q in one.ask(np.random.default_rng(one.index))}
    assert asked == set(WORDINGS)


@pytest.mark.parametrize("size", [144, 448])
def test_whatever_a_sheet_says_can_be_seen(size):
    """Another cell, heading, foot or bold word is another picture."""
    for index in range(12):
        drawn = draw("documents", "test", index, size=size)
        plan, seen = drawn.plan, drawn.frame(0)
        others = [replace(plan, heading="XXX")]
        if plan.foot:
            others.append(replace(plan, foot=plan.foot[:-1] + "?"))
        if plan.bold:
            words = [word for row in plan.rows for word in row if word != plan.bold]
            others += [replace(plan, bold=word) for word in words[:4]]
        for number, row in enumerate(plan.rows):
            for cell in range(len(row)):
                other = {TICK: BLANK, BLANK: TICK}.get(row[cell], row[cell][:-1] + "?")
                changed = (*row[:cell], other, *row[cell + 1 :])
                rows = (*plan.rows[:number], changed, *plan.rows[number + 1 :])
                others.append(replace(plan, rows=rows))
        for other in others:
            assert not np.array_equal(replace(drawn, plan=other).frame(0), seen), other


def test_larger_sheets_hold_more_and_print_is_smaller_beside_them():
    def most(size):
        plans = [draw("documents", "train", index, size=size).plan for index in range(60)]
        return max(len(plan.rows) for plan in plans)

    assert (most(144), most(448)) == (6, 16)


def test_the_total_is_of_the_prices():
    for index in range(80):
        plan = draw("documents", "test", index, size=144).plan
        if plan.kind == "receipt":
            cents = [round(100 * float(price)) for _, price in plan.rows]
            assert round(100 * float(plan.foot)) == sum(cents)
            assert len(set(cents)) == len(cents)
