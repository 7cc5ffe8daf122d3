"""One method at the largest share of visual tokens that a budget allows."""

from statistics import fmean

import pytest

from foveate.cost.configs import read_config
from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.errors import BudgetError, InputError
from foveate.planner.by_method import plan_method, plannable
from foveate.planner.reduction import plan_reduction
from foveate.reduction import Reduction

ONEVISION, CLIP = "llava-onevision-7b", Media(frames=8)
REQUEST = Request.of(read_config(ONEVISION), CLIP, 50)


@pytest.mark.parametrize("name", ["aim", "fastv", "stride", "tome"])
@pytest.mark.parametrize("budget", ["60% with encoder", "40%", "500 tokens"])
def test_the_largest_share_that_fits(name, budget):
    found = plan_method(ONEVISION, budget, name, CLIP, 50)
    whole, knobs = REQUEST.cost(), written(found.reduction)

    def spent(cost):
        if budget == "500 tokens":
            return fmean(cost.visual_tokens_by_layer) / 500
        if budget == "40%":
            return cost.prefill_flops / whole.prefill_flops / 0.4
        return cost.flops / whole.flops / 0.6

    assert found.cost == REQUEST.cost(found.reduction)
    assert f"{fmean(found.cost.visual_tokens_by_layer) / REQUEST.visual_tokens:.1%}" in found.why
    assert spent(found.cost) <= 1
    more = knobs | {"keep": min(1.0, knobs["keep"] + 0.03)}
    assert spent(REQUEST.cost(Reduction.from_dict(more))) > 1


def written(reduction):
    """The one method of a reduction, with its knobs."""
    row = reduction.to_dict()
    return row if "method" in row else next(part for part in row.values() if part)


def test_a_budget_of_tokens_is_planned():
    found = plan_reduction(ONEVISION, "500 tokens", CLIP, 50)
    assert fmean(found.cost.visual_tokens_by_layer) <= 500
    with pytest.raises(BudgetError, match=r"no plan fits 0\.01 visual tokens a layer"):
        plan_reduction(ONEVISION, "0.01 tokens", CLIP, 50)


def test_what_does_not_fit_or_is_not_known():
    with pytest.raises(
        BudgetError, match=r"no plan fits 1\.0% of the prefill FLOPs; the cheapest is"
    ):
        plan_method(ONEVISION, "1%", "fastv", CLIP, 50)
    with pytest.raises(InputError, match="works in the encoder"):
        plan_method(ONEVISION, 0.5, "tome-encoder", CLIP, 50)
    with pytest.raises(InputError, match="unknown method 'nope'"):
        plan_method(ONEVISION, 0.5, "nope", CLIP, 50)


def test_methods_that_can_be_planned():
    names = plannable(ONEVISION)
    assert {"aim", "fastv", "vtw", "tome"} <= set(names)
    assert "tome-encoder" not in names
