import itertools
import json
from dataclasses import replace

import pytest

from foveate.combine.aim import AIM
from foveate.combine.fovea import Fovea
from foveate.compress.fovea import FoveaMerge
from foveate.cost.calibration import Calibration
from foveate.cost.configs import published, read_config
from foveate.cost.hardware import TABLE
from foveate.cost.request import Request, request_cost
from foveate.cost.vision.encoder import Media
from foveate.encode.tome import ToMeEncoder
from foveate.errors import BudgetError, InputError
from foveate.laws.frontier import optimum
from foveate.laws.law import fit_points
from foveate.laws.points import published as published_points
from foveate.planner.budget import Budget
from foveate.planner.degradation import (
    ORDER,
    UNREDUCED,
    WHOLE_REQUEST,
    Step,
    degradation_order,
)
from foveate.planner.frames import plan_frames
from foveate.planner.reduction import plan_reduction, plan_requests
from foveate.planner.suggestion import Suggestion, read_analysis

CLIP, ONEVISION = Media(frames=32), "llava-onevision-7b"
A100 = TABLE["a100"]


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        (0.25, "share", 0.25), (1, "share", 1.0), ("25%", "share", 0.25), ("0.25", "share", 0.25),
        ("15 TFLOP", "flops", 15e12), ("1.5e13 FLOPs", "flops", 1.5e13), ("80gflops", "flops", 80e9),
        ("120 MB", "kv_bytes", 120e6), ("100 MiB", "kv_bytes", 100 * 2**20),
        ("60 ms", "ms", 60.0), ("1.5s", "ms", 1500.0), (Budget("ms", 7.0), "ms", 7.0),
        ("36 tokens", "tokens", 36.0), ("1 token", "tokens", 1.0),
    ],
)  # fmt: skip
def test_budgets(written, kind, value):
    budget = Budget.of(written)
    assert (budget.kind, budget.value) == (kind, pytest.approx(value))
    assert not budget.encoder
    assert budget.counts_encoder == (kind == "ms")


def test_budgets_with_encoder():
    assert Budget.of("40% with encoder") == Budget("share", 0.4, encoder=True)
    assert Budget.of("15 TFLOPs  with encoder ") == Budget("flops", 15e12, encoder=True)
    for no in ("120 MB with encoder", "60 ms with encoder", "36 tokens with encoder"):
        with pytest.raises(InputError, match="a share or FLOPs can be 'with encoder'"):
            Budget.of(no)
    with pytest.raises(InputError, match="a budget is a share"):
        Budget.of("40% without encoder")
    with pytest.raises(InputError, match="a budget with encoder needs media="):
        plan_reduction(ONEVISION, "40% with encoder", 196)


@pytest.mark.parametrize(
    "written", [0, -1, 1.5, "150%", "fast", "12 parsecs", "", float("nan"), "1.2.3 ms"]
)
def test_bad_budgets_are_refused(written):
    with pytest.raises(InputError, match="share"):
        Budget.of(written)


@pytest.mark.parametrize("task", ORDER)
@pytest.mark.parametrize("model", published())
def test_every_step_is_cheaper_than_the_one_before(model, task):
    config, media = read_config(model), Media(images=2, height=672, width=448)
    costs = [
        request_cost(config, media, 10, step.reduction)
        for step in degradation_order(config.text_config.num_hidden_layers, 64, task)
    ]
    for before, after in itertools.pairwise(costs):
        assert after.prefill_flops <= before.prefill_flops
        assert after.kv_bytes() <= before.kv_bytes()
    assert costs[-1].prefill_flops < 0.2 * costs[0].prefill_flops


@pytest.mark.parametrize("task", ORDER)
@pytest.mark.parametrize(
    "written",
    [
        1.0, 0.9, 0.6, 0.25, 0.05, "15 TFLOP", "60 MB", "60 ms", "140 ms", "300 ms",
        *(f"{share}% with encoder" for share in (100, 80, 50, 30, 20, 8)), "30 TFLOP with encoder",
    ],
)  # fmt: skip
def test_the_plan_fits_and_the_step_before_does_not(written, task):
    config, budget = read_config(ONEVISION), Budget.of(written)
    plan = plan_reduction(ONEVISION, written, CLIP, task=task)

    def spent(step) -> float:
        cost = request_cost(config, CLIP, 100, step.reduction)
        return budget.spent(cost, plan.unreduced, A100, 2)

    whole = budget.counts_encoder
    first = WHOLE_REQUEST if whole else UNREDUCED
    steps = list(degradation_order(28, 196, task, first, encoder=whole))
    fitting = [spent(step) <= budget.value for step in steps]
    first = steps[fitting.index(True)]  # every step is looked at
    assert plan.reduction == first.reduction
    assert plan.method == ("fovea" if whole else "aim")
    assert budget.spent(plan.cost, plan.unreduced, A100, 2) <= budget.value


@pytest.mark.parametrize("task", ORDER)
@pytest.mark.parametrize("model", list(published())[::5])
def test_every_step_with_the_encoder_is_cheaper_too(model, task):
    config, media = read_config(model), Media(images=2, height=672, width=448)
    layers = config.text_config.num_hidden_layers
    steps = list(degradation_order(layers, 64, task, WHOLE_REQUEST, encoder=True))
    costs = [request_cost(config, media, 10, step.reduction).flops for step in steps]
    assert costs == sorted(costs, reverse=True)
    for before, after in itertools.pairwise(steps):
        assert after.encode <= before.encode
        assert after.keep <= before.keep
        assert (before.prune or (layers, 0)) >= (after.prune or (layers, 0))
    assert (steps[-1].encode, steps[-1].prune[0]) == (pytest.approx(0.25), 0)


def test_a_whole_request_is_spent_over_three_places():
    def chosen(share, task="reasoning"):
        return plan_reduction(ONEVISION, f"{share}% with encoder", CLIP, task=task)

    mild, asked, hard = chosen(40), chosen(25), chosen(8)
    assert isinstance(mild.reduction, Fovea)  # merging and pruning are enough
    assert mild.why.endswith("gave up merging; the encoder is left whole")
    assert asked.reduction.encode == ToMeEncoder(0.67)
    assert asked.reduction.before == FoveaMerge(0.25)
    assert "over encoder, merging and pruning" in asked.why
    assert asked.why.endswith("gave up encoder")
    assert asked.request_share <= 0.25 < asked.cost.parts["encode"].flops / asked.cost.flops
    assert "24.9% of all FLOPs with encoder" in asked.summary
    assert hard.reduction.encode.keep < 0.5 <= chosen(20).reduction.encode.keep
    assert chosen(25, "ocr").reduction.encode is None  # text is merged further first
    assert asked.to_dict()["request_share"] == asked.request_share
    assert plan_reduction(ONEVISION, 0.5, 6272).request_share is None


def test_an_encoder_that_cannot_be_shortened_is_left_whole():
    config = read_config(ONEVISION)
    config.vision_config._attn_implementation = "flash_attention_2"
    plan = plan_reduction(config, "25% with encoder", CLIP)
    assert plan.reduction.encode is None
    assert plan.request_share <= 0.25
    assert "left whole; left out what this model refuses (attention 'flash_attention_2'" in plan.why
    config = read_config("qwen2.5-vl-7b")
    config.vision_config.model_type = "someone's"
    plan = plan_reduction(config, "40% with encoder", CLIP)
    assert plan.reduction.encode is None
    assert "which vision layers there are is not known of a someone's tower" in plan.why
    config = read_config("qwen2.5-vl-7b")
    request = Request.of(config, CLIP, 100)
    bare = replace(request.encoded, tower=replace(request.encoded.tower, layers=()))
    plan = plan_requests([replace(request, encoded=bare)], "40% with encoder")
    assert plan.reduction.encode is None
    assert "what a method in this vision encoder would save is not known" in plan.why


# a machine that only waits for its host: an operation costs a launch, whatever it computes
HOST = Calibration("slow host", 0.0, 0.0, 0.0, 1.0, None, {})


def test_what_is_slower_than_unreduced_is_never_proposed():
    for budget in (0.5, "40% with encoder", "15 TFLOP"):
        with pytest.raises(BudgetError, match=r"no plan that fits .* pays on slow host: foveate\."):
            plan_reduction(ONEVISION, budget, CLIP, machine=HOST)
        assert plan_reduction(ONEVISION, budget, CLIP).reduction.is_off is False
    assert plan_reduction(ONEVISION, 1.0, CLIP, machine=HOST).reduction.is_off
    memory = plan_reduction(ONEVISION, "100 MB", CLIP, machine=HOST)  # memory may cost time
    assert memory.why.endswith("slower than unreduced on slow host")


def test_what_is_given_up_first():
    late, merged, early = (plan_reduction(ONEVISION, share, CLIP) for share in (0.7, 0.15, 0.02))
    assert (late.keep, late.prune) == (1.0, (15, 23))
    assert merged.prune == (14, 22)
    assert 0.2 < merged.keep < 0.25
    assert early.prune < (14, 22)
    assert early.keep == pytest.approx(1 / 64, abs=0.003)
    assert "merging" in merged.why
    reading = plan_reduction(ONEVISION, 0.42, CLIP, task="ocr")
    assert (reading.keep, reading.prune) == (1.0, (7, 15))
    assert plan_reduction(ONEVISION, 0.3, CLIP, task="ocr").keep < 1


def test_a_plan_becomes_a_reduction():
    plan = plan_reduction(ONEVISION, "15 TFLOP", CLIP)
    assert plan.reduction == AIM(keep=plan.keep, prune=plan.prune)
    assert plan_reduction(ONEVISION, 1.0).reduction.is_off


def test_an_infeasible_budget_gives_the_cheapest_plan():
    message = (
        r"no plan fits 10 ms; the cheapest is foveate.Reduction\(encode=foveate.ToMeEncoder\(keep=0.25\)"
        r", before=foveate.FoveaMerge\(keep=0.01531\), inside=foveate.AIMPrune\(prune=\(0, 8\)\)\) at \d"
    )
    with pytest.raises(BudgetError, match=message):
        plan_reduction(ONEVISION, "10 ms", CLIP)
    with pytest.raises(InputError, match=r"no plan fits 0.1% of the prefill FLOPs; the cheapest"):
        plan_reduction(ONEVISION, 0.001, CLIP, task="ocr")


def test_a_faster_machine_keeps_more():
    slow, fast = (
        plan_reduction(ONEVISION, "120 ms", CLIP, machine=name) for name in ("a100", "h100")
    )
    assert slow.cost.visual_tokens_to_llm < fast.cost.visual_tokens_to_llm


def test_how_many_frames_fit_as_published():
    frames = plan_frames(ONEVISION, 32, reduction=AIM(prune=(14, 22)), convention="llm-viewer")
    assert frames.frames == 192
    assert frames.cost.flops <= frames.unreduced.flops


def test_really_dropping_and_encoding_make_room_for_fewer_frames():
    dropped = plan_frames(ONEVISION, 32, reduction=AIM(prune=(14, 22)))
    encoded = plan_frames(ONEVISION, 32, reduction=AIM(prune=(14, 22)), encoder=True)
    assert 96 < encoded.frames < dropped.frames < 192
    for found, of in ((dropped, "prefill_flops"), (encoded, "flops")):
        more = request_cost(
            read_config(ONEVISION),
            Media(frames=found.frames + 1),
            100,
            AIM(keep=0.25, prune=(14, 22)),
        )
        assert getattr(found.cost, of) <= getattr(found.unreduced, of) < getattr(more, of)
    with pytest.raises(InputError, match="at least 1, got 0"):
        plan_frames(ONEVISION, 0)


def analysed(layers=28, keep=0.5, prune=(16, 20)):
    return Suggestion(layers, keep, prune)


@pytest.mark.parametrize("task", ORDER)
@pytest.mark.parametrize("prune", [None, (16, 20), (9, 17), (3, 4), (0, 8)])
@pytest.mark.parametrize("keep", [1.0, 0.5, 1 / 64])
def test_an_analysed_ladder_goes_down_from_the_suggestion(keep, prune, task):
    config, media = read_config(ONEVISION), Media(frames=2)
    top = Step(keep, prune, "analysed")
    steps = list(degradation_order(28, 196, task, top))
    assert steps[0] is top
    assert len({(step.keep, step.prune) for step in steps}) == len(steps)
    costs = [request_cost(config, media, 10, step.reduction).prefill_flops for step in steps]
    assert costs == sorted(costs, reverse=True)
    assert steps[-1].prune[0] == 0
    assert steps[-1].keep <= max(keep, 0.016)
    width = prune[1] - prune[0] if prune else 8
    assert all(r.prune[1] - r.prune[0] == width for r in steps if r.prune and r.prune[1] < 28)


def test_a_plan_starts_from_the_analysis():
    free = analysed()
    for budget in (1.0, 0.5):  # what is suggested is given up first
        plan = plan_reduction(ONEVISION, budget, CLIP, analysis=free)
        assert (plan.keep, plan.prune, plan.accuracy) == (0.5, (16, 20), None)
        assert "gave up what the analysis suggests" in plan.why
    less = plan_reduction(ONEVISION, 0.9 * plan.flops_share, CLIP, analysis=free)
    assert less.keep == 0.5
    assert less.prune == (14, 18)  # late layers go first, and the window stays as wide
    assert "from an analysis on, reasoning: gave up late layers" in less.why
    with pytest.raises(InputError, match="analysis is of an LLM of 8 layers, this one has 28"):
        plan_reduction(ONEVISION, 0.5, CLIP, analysis=analysed(8, 0.5, (2, 4)))


def test_an_analysis_is_read(tmp_path):
    path = tmp_path / "analysis.json"
    for prune in ([16, 20], None):
        path.write_text(json.dumps({"layers": 28, "keep": 0.5, "prune": prune, "more": 1}))
        assert read_analysis(path) == analysed(prune=prune and tuple(prune))
        plan = plan_reduction(ONEVISION, 0.5, CLIP, analysis=path)
        assert plan == plan_reduction(ONEVISION, 0.5, CLIP, analysis=read_analysis(path))
    for text, message in (
        ("{", "not the JSON of foveate analyze"),
        ('{"keep": 0.5}', "must hold layers, keep and prune"),
        ('{"layers": 8, "keep": 0.5, "prune": [3]}', "must hold layers, keep and prune"),
        ('{"layers": 8, "keep": 0.5, "prune": [3, 9]}', r"two layers of 8, got \(3, 9\)"),
        ('{"layers": 8, "keep": 0, "prune": null}', "keep must be a share"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_analysis(path)
    with pytest.raises(InputError, match="cannot read the analysis"):
        read_analysis(tmp_path / "none.json")


def test_one_call_for_the_three_questions():
    import foveate

    config = read_config(ONEVISION)
    assert foveate.plan(config, budget=0.25) == plan_reduction(ONEVISION, 0.25)
    assert foveate.plan(ONEVISION, frames=8) == plan_frames(ONEVISION, 8)
    law = fit_points(published_points("reasoning"))
    found = foveate.plan(budget="0.4 TFLOP", law=law, models={"2b": 2.0, "4b": 4.0})
    assert found == optimum(law, 4e11, 50, models={"2b": 2.0, "4b": 4.0})
    assert foveate.plan(budget=4e11, law=law).best == optimum(law, 4e11, 50).best
    whole = foveate.plan(budget="0.6 TFLOP with encoder", law=law, encoder_flops=2e11)
    assert whole.best == optimum(law, 4e11, 50).best
    with pytest.raises(InputError, match="tells nothing of them; got 8 frames"):
        foveate.plan(budget=4e11, law=law, frames=[8])
    with pytest.raises(InputError, match="needs encoder_flops"):
        foveate.plan(budget="0.6 TFLOP with encoder", law=law)
    for wrong in ({}, {"model": ONEVISION}, {"model": ONEVISION, "budget": 0.5, "frames": 3}):
        with pytest.raises(InputError, match="plan takes a model and a budget"):
            foveate.plan(**wrong)
    with pytest.raises(InputError, match="a law's budget is FLOPs"):
        foveate.plan(budget="50 ms", law=law)


def test_a_model_is_planned_for_by_its_config():
    from types import SimpleNamespace

    import foveate

    config = read_config("llava-1.5-7b")
    model = SimpleNamespace(config=config)
    vlm = SimpleNamespace(model=model)
    assert foveate.plan(vlm, 0.5) == foveate.plan(model, 0.5) == foveate.plan(config, 0.5)


def test_off_is_chosen_where_it_fits_and_scoring_is_no_saving():
    for visual, text in ((4, 1000), (100, 4000), (0, 100)):
        assert plan_reduction("foveate-mini", 1.0, visual, text).reduction.is_off
    with pytest.raises(BudgetError, match=r"the cheapest is .* at 9\d\.\d%|at 100\.0% of"):
        plan_reduction("foveate-mini", 0.9, 4, 1000)
    assert plan_reduction("foveate-mini", 1.0, 0, 100).keep == 1.0


@pytest.mark.parametrize(("media", "text"), [((), 9), (("x",), 9), (-1, 9), (4, -9)])
def test_what_is_no_count_is_refused(media, text, untyped):
    with pytest.raises(InputError, match=r"are a count or a count for each group.*each at least 0"):
        plan_reduction("foveate-mini", 0.5, media, text)
