"""What goes wrong is told in the library's own words, and loses nothing."""

import pytest

from foveate.errors import BudgetError, InputError
from foveate.view.html import one_line, render
from foveate.view.state import State

STATE = State(methods=("planner", "fastv"), layer=7)


@pytest.fixture(scope="module")
def asked(page):
    return page.ask(None, STATE, None)


def test_an_impossible_budget_keeps_the_last_panes(page, asked):
    state = State(methods=("planner", "fastv"), layer=7, budget=50)
    after = page.ask(asked, state, None)
    (planner, fine), (fastv, error) = after.panes
    assert fine is None
    assert planner is not asked.panes[0][0]
    assert isinstance(error, BudgetError)
    assert fastv is asked.panes[1][0]
    shown = render(after.panes, state)
    assert one_line(error).replace("'", "&#39;") in shown
    assert "no plan fits 50.0% of the FLOPs with encoder; the cheapest is" in shown
    assert "Below is the last answer" in shown


def test_a_file_that_is_no_picture(page, asked, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no picture")
    with pytest.raises(InputError, match=r"notes\.txt"):
        page.ask(asked, STATE, str(file))
    with pytest.raises(InputError, match="the question is empty"):
        page.ask(asked, State(question=" "), None)
    with pytest.raises(InputError, match="no picture: choose an example"):
        page.ask(asked, State(example=""), None)


def test_a_method_that_no_share_sets(page):
    (_, error), *_ = page.ask(None, State(methods=("reuse",)), None).panes
    assert "works in the encoder" in str(error)


@pytest.mark.parametrize("unit", ["ms", "tokens"])
def test_a_new_unit_asks_for_half(page, unit):
    found = page.ask(None, State(unit=unit, budget=99, methods=("planner",)), None, new=True)
    assert found.state.budget == pytest.approx(found.most / 2, rel=1e-3)
    assert 0 < found.step < found.most
    kept = page.ask(None, State(unit=unit, budget=1e6, methods=("planner",)), None)
    assert kept.state.budget == pytest.approx(kept.most, rel=1e-3)


def test_opening_a_link(page, viewer):
    assert page.first({}) == (State(layer=viewer.layers - 1), "")
    state, amiss = page.first({"methods": "tome,vtw", "layer": "2"})
    assert (state.methods, state.layer, amiss) == (("tome", "vtw"), 2, "")
    state, amiss = page.first({"methods": "nope"})
    assert state == State(layer=viewer.layers - 1)
    assert "not asked under nope; allowed: planner, aim" in amiss
    state, amiss = page.first({"example": ""})
    assert (state.example, "drop it again" in amiss) == ("", True)


def test_methods_of_the_encoder_are_not_offered(viewer):
    assert {"planner", "aim", "fastv", "tome"} <= set(viewer.methods)
    assert not {"reuse", "tome-encoder"} & set(viewer.methods)
