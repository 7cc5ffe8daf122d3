"""What a model refuses is told from its config, and the planner plans around it."""

import copy

import pytest
import torch

import foveate
from foveate import testing
from foveate.combine.aim import AIM
from foveate.compress.aim import AIMMerge
from foveate.errors import BudgetError, UnsupportedError
from foveate.models.family import families
from foveate.models.limits import Limits
from foveate.models.tiny.models import TINY
from foveate.planner.frames import plan_frames
from foveate.planner.reduction import plan_reduction
from foveate.planner.suggestion import Suggestion
from foveate.registry import methods

KINDS = ["linear_attention"] * 3 + ["full_attention", "linear_attention", "full_attention"]
SHARED = {
    "num_kv_shared_layers": 2, "use_bidirectional_attention": None, "attention_k_eq_v": False,
    "num_global_key_value_heads": None, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 128,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
}  # fmt: skip


def qwen():
    """A Qwen3.5 that attends in layers 3 and 5 of 6."""
    row = copy.deepcopy(TINY["qwen3_5"].config)
    row["text_config"]["layer_types"] = KINDS
    return _made("qwen3_5", row)


def gemma():
    """A Gemma 4 whose last two layers read keys of before."""
    config = families()["gemma4"].tiny().config
    for name, value in SHARED.items():
        setattr(config.text_config, name, value)
    return _made("gemma4", config.to_dict())


def _made(name, config):
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    made = AutoConfig.for_model(**{"model_type": name, **config})
    model = AutoModelForImageTextToText.from_config(made).eval()
    model.generation_config.pad_token_id = 0
    return model, families()[name].tiny_inputs(model.config, [[("image", 0)]])


MODELS = {"qwen3_5": qwen, "gemma4": gemma}


@pytest.fixture(scope="module", params=MODELS)
def limited(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("task", ["reasoning", "ocr"])
def test_a_plan_for_any_budget_is_one_that_reduce_takes(limited, task):
    model, inputs = limited
    planned = 0
    for percent in range(10, 91, 10):
        try:
            plan = plan_reduction(model, percent / 100, [48], text_tokens=6, task=task)
        except BudgetError:
            assert percent <= 20  # of so short a prompt its text alone takes as much
            continue
        assert "left out what this model refuses (" in plan.why
        with torch.no_grad(), foveate.reduce(model, plan.reduction):
            model(**inputs)
        planned += 1
    assert planned >= 7


@pytest.mark.parametrize("percent", range(20, 91, 10))
def test_a_budget_alone_reduces(limited, percent):
    model, inputs = limited
    try:
        with torch.no_grad(), foveate.reduce(model, budget=percent / 100) as run:
            model(**inputs)
    except BudgetError:
        assert percent <= 30
        return
    assert run.report.prefill_flops <= percent / 100 * run.report.prefill_flops_unreduced * 1.01


def test_a_suggestion_that_is_refused_is_not_where_a_plan_starts(limited):
    model, _ = limited
    analysis = Suggestion(6, 0.5, (0, 6))
    plan = plan_reduction(model, 0.9, [48], text_tokens=6, analysis=analysis)
    assert not Limits.of_config(model.config).refusal(plan.reduction)


def test_frames_are_not_counted_for_what_is_refused(limited):
    model, _ = limited
    with pytest.raises(UnsupportedError, match="works: pruning"):
        plan_frames(model, 4, reduction=AIM(1.0, (0, 6)))


@pytest.mark.parametrize(
    "name", ["llava", "internvl", "aria", "video_llava", "gemma4", "llava_next"]
)
def test_a_config_refuses_of_the_encoder_what_the_model_refuses(name):
    model, inputs = testing.tiny(name)
    limits = Limits.of_config(model.config)
    for method in methods().values():
        if method.stage == "before":
            check_same(model, inputs, limits, foveate.create(method.name, keep=0.5))
    for metric in ("features", "keys"):
        at_encoder = AIMMerge(0.5, metric=metric, at="encoder")
        check_same(model, inputs, limits, foveate.Reduction(before=at_encoder))


def check_same(model, inputs, limits, reduction):
    told = ""
    try:
        with torch.no_grad(), foveate.reduce(model, reduction):
            model(**inputs)
    except UnsupportedError as error:
        told = str(error)
    assert limits.refusal(reduction) == told
