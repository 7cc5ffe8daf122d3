import math

import pytest

from foveate.errors import BudgetError, InputError, MissingExtraError
from foveate.laws.figure import draw
from foveate.laws.frontier import Mixture, frontier, optimum
from foveate.laws.law import FORMS, fit_points
from foveate.laws.points import published

LAWS = {family: fit_points(published(family)) for family in ("reasoning", "ocr")}
QWENS = {"0.5b": 0.5, "1.8b": 1.8, "4b": 4.0, "7b": 7.0}


def test_a_cached_prompt_wants_one_token_and_the_largest_llm():
    for budget in (2e9, 1e10, 2.5e10):
        best = optimum(LAWS["reasoning"], budget, 0).best
        assert best.visual_tokens == pytest.approx(1)
        assert best.params_b == pytest.approx(budget / 2e9)


@pytest.mark.parametrize("text", [50, 100, 500])
def test_the_best_count_is_that_of_the_closed_form(text):
    law = LAWS["reasoning"]
    closed = law.beta * text / (law.alpha - law.beta)
    found = optimum(law, 2e9 * 4 * (text + 20), text)
    assert found.best.visual_tokens == pytest.approx(closed, rel=0.01)
    assert found.visual_tokens.low < closed < found.visual_tokens.high
    assert found.best.regret == 0


def test_the_optimum_of_one_law_is_flat_and_of_the_other_at_the_end():
    reasoning, ocr = (optimum(LAWS[name], 4e11, 50) for name in ("reasoning", "ocr"))
    assert reasoning.flat
    assert reasoning.alike.low < reasoning.best.visual_tokens / 3
    for neighbour in reasoning.neighbours:
        assert neighbour.regret > 0
        assert neighbour.regret_interval.low < neighbour.regret < neighbour.regret_interval.high
    assert ocr.best.visual_tokens == pytest.approx(576)
    assert ocr.best.params_b < reasoning.best.params_b / 5


def test_a_mixture_lies_between():
    counts = [
        optimum(Mixture.of(LAWS, reasoning=1 - share, ocr=share), 4e11, 50).best.visual_tokens
        for share in (0.0, 0.2, 0.5, 1.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] < counts[3]


def test_real_models_spend_what_they_can():
    found = optimum(LAWS["reasoning"], 4e11, 50, models=QWENS)
    assert found.best.name == "1.8b"
    choices = {choice.name: choice for choice in (found.best, *found.neighbours)}
    assert set(choices) == {"0.5b", "1.8b"}  # 4b would have no token left at this budget
    for name, choice in choices.items():
        assert choice.visual_tokens == math.floor(4e11 / 2e9 / QWENS[name] - 50)
        assert choice.error == LAWS["reasoning"].predict(choice.params_b, choice.visual_tokens)


def test_no_choice_at_the_budget_is_better():
    for law in (LAWS["reasoning"], fit_points(published("reasoning"), "additive")):
        best = optimum(law, 4e11, 50).best
        for tenth in range(40, 250):
            count = tenth / 4
            assert law.predict(4e11 / 2e9 / (50 + count), count) >= best.error - 1e-6


def test_the_frontier_falls_and_leaves_out_what_does_not_fit():
    budgets = [1e6, 1e11, 4e11, 1e12]
    found = frontier(LAWS["reasoning"], budgets, 50)
    assert [budget for budget, _ in found] == budgets[1:]
    errors = [at.best.error for _, at in found]
    assert errors == sorted(errors, reverse=True)
    assert [at.best.extrapolated for _, at in found] == [False, False, True]  # 7.9B


def test_only_a_budget_that_nothing_fits_is_left_out():
    law = LAWS["reasoning"]
    with pytest.raises(BudgetError, match="the cheapest choice is"):
        optimum(law, 1e6, 50)
    with pytest.raises(InputError, match="models need sizes"):  # whatever its text says
        frontier(law, [4e11], 50, models={"the cheapest": -1.0})


def test_bad_input_is_refused():
    law = LAWS["reasoning"]
    with pytest.raises(
        InputError, match=r"fit nothing; the cheapest choice is 0.25B at 1 tokens: 2.55e"
    ):
        optimum(law, 1e6, 50)
    with pytest.raises(InputError, match=r"the cheapest choice is 0.5b at 1 tokens: 5.1e\+10"):
        optimum(law, 1e6, 50, models=QWENS)
    with pytest.raises(InputError, match="above 0, got nan"):
        optimum(law, math.nan, 50)
    with pytest.raises(InputError, match="text_tokens must be at least 0"):
        optimum(law, 1e11, -1)
    with pytest.raises(InputError, match="sizes must be a range"):
        optimum(law, 1e11, 50, sizes=(4, 4))
    with pytest.raises(InputError, match="sum to 1"):
        Mixture.of(LAWS, reasoning=0.5, ocr=0.6)
    with pytest.raises(InputError, match=r"no law of \['maths'\]"):
        Mixture.of(LAWS, maths=1.0)


@pytest.mark.parametrize("form", FORMS)
def test_the_figure_is_drawn(tmp_path, form):
    pytest.importorskip("matplotlib")
    path = tmp_path / "law.svg"
    draw(fit_points(published("reasoning"), form), path)
    text = path.read_text()
    assert text.count('id="line2d_') > 5
    for refused in (tmp_path / "law.txt", tmp_path / "no" / "law.png"):
        with pytest.raises(InputError, match="existing folder"):
            draw(LAWS["ocr"], refused)


def test_the_figure_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"foveate\[plot\]"):
        draw(LAWS["ocr"], tmp_path / "law.png")
