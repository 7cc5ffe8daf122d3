"""A budget chooses the reduction for each prompt, and what ran costs what was allowed."""

import pytest
import torch

import foveate
from foveate.cost.calibration import Calibration
from foveate.cost.llm import prefill_cost
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import families
from foveate.planner.measured import Measured
from foveate.planner.reduction import plan_reduction
from foveate.reduction import as_reduction
from foveate.runtime.seams import cache_in
from foveate.testing import fingerprint

GREEDY = {"max_new_tokens": 3, "do_sample": False}
SLOW = Calibration("slow", 1e-6, 1e-6, 1e-7, 0.01, median_error=None, conditions={})
ONE = [[("image", 0)]]
TWO = [[("image", 0)], [("image", 0), ("image", 0)], []]


@pytest.fixture(scope="module")
def llava():
    return families()["llava"], families()["llava"].tiny()


@pytest.mark.sampled
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_what_ran_costs_no_more_than_was_allowed(tiny, share):
    model, inputs = tiny
    with torch.no_grad(), foveate.reduce(model, budget=share) as run:
        model.generate(**inputs, **GREEDY)
    report = run.report
    assert report.fired
    assert 0.5 * share < report.prefill_flops / report.prefill_flops_unreduced <= share


def test_each_prompt_has_its_own_plan(llava):
    family, model = llava
    budget = 5e6
    with torch.no_grad(), foveate.reduce(model, budget=f"{budget} FLOP") as run:
        for samples in (ONE, [[("image", 0)] * 3], ONE):
            model(**family.tiny_inputs(model.config, samples))
    one, three, again = run.reports
    assert max(report.prefill_flops for report in run.reports) <= budget
    assert three.prefill_flops_unreduced > 2 * one.prefill_flops_unreduced
    assert sum(map(sum, three.visual_tokens_by_layer)) > 0
    assert one.visual_tokens_by_layer == again.visual_tokens_by_layer
    share = one.visual_tokens_to_llm[0] / one.visual_tokens_in[0]
    assert three.visual_tokens_to_llm[0] / three.visual_tokens_in[0] < share


def test_every_sample_of_a_batch_fits_and_one_of_them_decides(llava):
    family, model = llava
    with torch.no_grad(), foveate.reduce(model, budget=0.6) as run:
        model(**family.tiny_inputs(model.config, TWO))
    report = run.report
    assert report.visual_tokens_in == [64, 128, 0]
    alone = [
        plan_reduction(model, 0.6, groups, text_tokens)
        for groups, text_tokens in zip([(64,), (64, 64)], report.text_tokens, strict=False)
    ]
    for visual, by_layer, text in zip(
        report.visual_tokens_in, report.visual_tokens_by_layer, report.text_tokens, strict=True
    ):
        if visual:
            cut, whole = (
                prefill_cost(model.config, tokens, text).flops
                for tokens in (by_layer, [visual] * 6)
            )
            assert 0.4 < cut / whole <= 0.6
    shares = [
        kept / came for kept, came in zip(report.visual_tokens_to_llm[:2], (64, 128), strict=True)
    ]
    assert shares == [pytest.approx(min(plan.keep for plan in alone))] * 2


def test_the_cache_is_counted_in_the_models_own_numbers(llava):
    family, model = llava
    inputs = family.tiny_inputs(model.config, ONE)
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction()) as run:
        model(**inputs)
    allowed = run.report.kv_bytes // 2
    with torch.no_grad(), foveate.reduce(model, budget=f"{allowed} B") as run:
        model(**inputs)
    assert 0.8 * allowed < run.report.kv_bytes <= allowed
    with torch.no_grad(), foveate.reduce(model, budget=f"{allowed} B", answer_tokens=9) as run:
        output = model.generate(
            **inputs, max_new_tokens=9, do_sample=False, return_dict_in_generate=True
        )
    layers = cache_in(output).layers
    assert sum(4 * (layer.keys.numel() + layer.values.numel()) for layer in layers) <= allowed


def test_a_time_is_of_the_machine_that_is_named(llava):
    family, model = llava
    inputs = family.tiny_inputs(model.config, ONE)
    whole = plan_reduction(model, 1.0, (64,), 8, machine=SLOW).cost.first_token_ms(SLOW)
    with torch.no_grad(), foveate.reduce(model, budget=f"{0.8 * whole} ms", machine=SLOW) as run:
        model(**inputs)
    assert run.report.fired
    with pytest.raises(InputError, match="a budget in time needs machine"):
        foveate.reduce(model, budget="60 ms").__enter__()


def test_a_budget_with_encoder_comes_too_late(llava):
    _, model = llava
    with pytest.raises(
        InputError, match="spent before anything is encoded, got '40% with encoder'"
    ):
        foveate.reduce(model, budget="40% with encoder").__enter__()


def test_measured_accuracies_and_tasks_decide(llava):
    family, model = llava
    inputs = family.tiny_inputs(model.config, ONE)
    rows = [
        Measured("reasoning", "aim", keep, foveate.AIM(keep, None), right)
        for keep, right in ((0.5, 0.9), (0.25, 0.1))
    ]
    with torch.no_grad(), foveate.reduce(model, budget=0.9, measured=rows) as run:
        model(**inputs)
    assert run.report.visual_tokens_by_layer[0] == [32] * 6
    flat = torch.zeros(20, 20, 3).numpy()
    kept = {}
    for task in ("reasoning", "ocr", "auto"):
        with torch.no_grad(), foveate.reduce(model, budget=0.6, task=task, pixels=[flat]) as run:
            model(**inputs)
        kept[task] = run.report.visual_tokens_by_layer
    assert kept["auto"] == kept["reasoning"] != kept["ocr"]


def test_the_whole_budget_is_exactly_off_and_leaves_no_trace(tiny):
    model, inputs = tiny
    with torch.no_grad():
        plain = model(**inputs).logits
        before = fingerprint(model)
        with foveate.reduce(model, budget=1.0) as run:
            whole = model(**inputs).logits
    assert torch.equal(plain, whole)
    assert not run.report.fired
    assert fingerprint(model) == before


@pytest.mark.parametrize("method", [foveate.DivPrune(0.25), foveate.FastV()])
def test_a_method_alone_reduces_as_the_reduction_around_it(llava, method):
    family, model = llava
    inputs, around = family.tiny_inputs(model.config, ONE), as_reduction(method)
    reports = []
    for given in (method, around):
        with torch.no_grad(), foveate.reduce(model, given) as run:
            model(**inputs)
        reports.append(run.report)
    assert reports[0].fired
    assert reports[0].visual_tokens_by_layer == reports[1].visual_tokens_by_layer
    assert reports[0].merged_into == reports[1].merged_into


class Policy:
    """Chooses by the prompt; a function would do."""

    def __call__(self, samples):
        return foveate.AIM(0.5, None)


def test_an_object_may_choose_and_a_class_may_not(llava, untyped):
    family, model = llava
    with torch.no_grad(), foveate.reduce(model, Policy()) as run:
        model(**family.tiny_inputs(model.config, ONE))
    assert run.report.visual_tokens_to_llm == [32]
    for given, message in (
        (foveate.AIM, r"the class AIM: write AIM\(\)"),
        (Policy, "the class Policy"),
        ("aim", r'write foveate.create\("aim"\)'),
    ):
        with pytest.raises(InputError, match=message):
            foveate.reduce(model, given).__enter__()


def test_what_does_not_fit_or_cannot_be_asked_is_refused(llava):
    family, model = llava
    inputs = family.tiny_inputs(model.config, ONE)
    with (
        foveate.reduce(model, budget="1 FLOP"),
        pytest.raises(InputError, match=r"no plan fits .*; the cheapest is foveate.AIM"),
    ):
        model(**inputs)
    for knobs in ({}, {"reduction": foveate.AIM(), "budget": 0.5}, {"budget": 0}):
        with pytest.raises(
            InputError, match=r"reduce\(\) takes a reduction|must be above 0, got 0"
        ):
            foveate.reduce(model, **knobs).__enter__()
    with pytest.raises(InputError, match=r"reduce\(\) takes a reduction"):
        foveate.reduce(model, foveate.AIM(), task="ocr").__enter__()
    with pytest.raises(InputError, match="give them as pixels="):
        foveate.reduce(model, budget=0.5, task="auto").__enter__()
    with foveate.reduce(model, budget=0.5), pytest.raises(UnsupportedError, match="have a label"):
        model(**inputs, labels=inputs["input_ids"])
    encoder = foveate.AIM.paper("llava-1.5-7b")
    with (
        foveate.reduce(model, lambda samples: encoder),
        pytest.raises(UnsupportedError, match="what only encoding shows"),
    ):
        model(**inputs)
