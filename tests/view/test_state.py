"""A link sets the page as it was, and one that cannot says why."""

from urllib.parse import parse_qsl

import pytest

from foveate.errors import InputError
from foveate.planner.budget import Budget
from foveate.view.state import PLANNER, State, examples

STATES = [
    State(),
    State(example="video-3.webp", question="which way & where, 5?", unit="ms", budget=0.0123),
    State("a/b", "ocr-0.png", "", (PLANNER, "tome", "fastv", "vtw"), "tokens", 36.5, 4),
    State(example="", methods=("stride",)),
]


@pytest.mark.parametrize("state", STATES)
def test_a_link_round_trips(state):
    query = dict(parse_qsl(state.query, keep_blank_values=True))
    assert State.of(query, state.model) == state


def test_what_a_link_does_not_name_is_as_at_first():
    assert State.of({"__theme": "dark", "budget": "30"}, "foveate-mini") == State(budget=30.0)


@pytest.mark.parametrize(
    ("unit", "kind", "value"),
    [("flops", "share", 0.36), ("ms", "ms", 36), ("tokens", "tokens", 36)],
)
def test_a_budget_is_one_of_the_library(unit, kind, value):
    budget = Budget.of(State(unit=unit, budget=36).budget_text)
    assert (budget.kind, budget.value) == (kind, pytest.approx(value))
    assert budget.encoder == (unit == "flops")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"budget": "much"}, "budget must be a number, got 'much'"),
        ({"layer": "1.5"}, "layer must be a number"),
        ({"layer": "-1"}, "layer must be at least 0"),
        ({"unit": "bytes"}, "unit must be one of flops, ms, tokens; got 'bytes'"),
        ({"example": "../../etc/passwd"}, "example must be one of"),
        ({"methods": ""}, "1 to 4 methods are shown, got 0"),
        ({"methods": "a,b,c,d,e"}, "got 5"),
        ({"model": "other"}, "foveate view other"),
    ],
)
def test_bad_links_teach(query, told):
    with pytest.raises(InputError, match=told.replace(".", r"\.")):
        State.of(query, "foveate-mini")


def test_the_examples_are_pictures_and_a_clip():
    assert {"reasoning-0.png", "ocr-0.png", "video-3.webp"} <= set(examples())
