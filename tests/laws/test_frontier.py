import itertools
import math

import pytest

from foveate.errors import BudgetError, InputError, MissingExtraError
from foveate.laws.figure import draw
from foveate.laws.frontier import Mixture, frontier, optimum
from foveate.laws.law import FORMS, fit_law, fit_points
from foveate.laws.points import published

LAWS = {family: fit_points(published(family)) for family in ("reasoning", "ocr")}
CELLS = list(itertools.product([0.5, 2.0, 7.0], [4, 16, 64, 196], [1, 4, 16, 64]))
CLIPS = fit_law(
    *([cell[axis] for cell in CELLS] for axis in (0, 1)),
    [0.3 / n**0.3 + 0.2 / t**0.4 + 0.3 / f**0.5 + 0.1 + 0.001 * (-1) ** i
     for i, (n, t, f) in enumerate(CELLS)],
    form="additive", frames=[cell[2] for cell in CELLS],
)  # fmt: skip
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


def spent(choice, text, encoder):
    """FLOPs of a choice, written out."""
    llm = 2e9 * choice.params_b * (text + choice.frames * choice.visual_tokens)
    return choice.frames * encoder + llm


@pytest.mark.parametrize("encoder", [0.0, 1e11])
def test_no_choice_of_size_count_and_frames_is_better(encoder):
    budget, text = 8e12, 50
    found = optimum(CLIPS, budget, text, encoder_flops=encoder, sizes=(0.1, 100))
    assert spent(found.best, text, encoder) == pytest.approx(budget)
    for frames in (1, 4, 16, 64):
        for tenth in range(10, 2000, 7):
            count = tenth / 10
            size = (budget - frames * encoder) / 2e9 / (text + frames * count)
            if 0.1 <= size <= 100:
                assert CLIPS.predict(size, count, frames) >= found.best.error - 1e-5
    shown = [choice.frames for choice in found.neighbours]
    assert set(shown) | {found.best.frames} <= {1, 4, 16, 64}
    assert found.frames.low <= found.best.frames <= found.frames.high


def test_an_encoder_that_costs_takes_frames_away():
    free, dear = (optimum(CLIPS, 8e12, 50, encoder_flops=flops) for flops in (0.0, 4e11))
    assert dear.best.frames < free.best.frames
    assert dear.best.error > free.best.error
    assert optimum(CLIPS, 8e12, 50, frames=[4]).best.frames == 4
    within = {"sizes": (0.5, 7.0), "tokens": (4.0, 196.0)}
    assert optimum(CLIPS, 8e12, 50, frames=[128], **within).best.extrapolated
    assert not optimum(CLIPS, 8e12, 50, frames=[64], **within).best.extrapolated
    pictures = optimum(LAWS["reasoning"], 4e11 + 1e11, 50, encoder_flops=1e11).best
    assert pictures.error == optimum(LAWS["reasoning"], 4e11, 50).best.error


def test_real_models_and_frames_spend_what_they_can():
    found = optimum(CLIPS, 8e12, 50, models=QWENS, encoder_flops=1e11)
    choices = (found.best, *found.neighbours)
    assert {choice.frames for choice in choices} == {1, 4, 16, 64}
    for choice in choices:
        assert spent(choice, 50, 1e11) <= 8e12
        more = 2e9 * choice.params_b * choice.frames
        assert choice.visual_tokens == 576 or spent(choice, 50, 1e11) + more > 8e12


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
    with pytest.raises(InputError, match="encoder_flops must be at least 0, got nan"):
        optimum(law, 1e11, 50, encoder_flops=math.nan)
    with pytest.raises(InputError, match="without frames and tells nothing of them; got 8 frames"):
        optimum(law, 1e11, 50, frames=[8])
    for wrong in ([], [0]):
        with pytest.raises(InputError, match="frames must be counts of at least 1"):
            optimum(CLIPS, 1e11, 50, frames=wrong)
    with pytest.raises(BudgetError, match=r"0.25B at 1 tokens in 4 frames: 4.27e\+11 FLOPs"):
        optimum(CLIPS, 4e11, 50, frames=[4, 16], encoder_flops=1e11)
    with pytest.raises(InputError, match="must all have frames, or none"):
        Mixture(((0.5, law), (0.5, CLIPS)))
    with pytest.raises(InputError, match="sum to 1"):
        Mixture.of(LAWS, reasoning=0.5, ocr=0.6)
    with pytest.raises(InputError, match=r"no law of \['maths'\]"):
        Mixture.of(LAWS, maths=1.0)


@pytest.mark.parametrize("law", [*(fit_points(published("ocr"), form) for form in FORMS), CLIPS])
def test_the_figure_is_drawn(tmp_path, law):
    pytest.importorskip("matplotlib")
    path = tmp_path / "law.svg"
    draw(law, path, encoder_flops=1e11)
    text = path.read_text()
    assert text.count('id="line2d_') > 5
    for refused in (tmp_path / "law.txt", tmp_path / "no" / "law.png"):
        with pytest.raises(InputError, match="existing folder"):
            draw(LAWS["ocr"], refused)


def test_the_figure_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"foveate\[plot\]"):
        draw(LAWS["ocr"], tmp_path / "law.png")
