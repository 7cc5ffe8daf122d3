"""`foveate.plan`: the one door of the planner, for its three questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from foveate.cost.hardware import Machine
from foveate.cost.llm import Convention
from foveate.cost.request import Visual
from foveate.defaults import ANSWER_TOKENS, MACHINE, QUERY_TOKENS, TASK, TEXT_TOKENS
from foveate.errors import InputError
from foveate.laws.frontier import TOKENS, Mixture, Optimum, optimum
from foveate.laws.law import DRAWS, Law
from foveate.laws.points import Number
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.planner.frames import Frames, plan_frames
from foveate.planner.measured import Measured
from foveate.planner.reduction import ITEMSIZE, Plan, plan_reduction
from foveate.planner.suggestion import Suggests
from foveate.reduction import Given


def plan_size(
    budget: Budget | float | int | str,
    law: Law | Mixture,
    *,
    text_tokens: Number = QUERY_TOKENS,
    models: Mapping[str, Number] | None = None,
    sizes: tuple[Number, Number] | None = None,
    tokens: tuple[Number, Number] = TOKENS,
    frames: Sequence[Number] | None = None,
    encoder_flops: Number = 0.0,
    draws: int = DRAWS,
) -> Optimum:
    """The size of LLM, the visual tokens and the frames with the least error at a budget of FLOPs.

    Args:
        budget: FLOPs, or a string with its unit, such as "0.4 TFLOP"; "with encoder" needs
            `encoder_flops`.
        law: fitted by `foveate.fit_law`, or a `Mixture` of several.
        text_tokens: of a prompt, that are not cached.
        models: billions of parameters of the LLMs to choose from, by name; None for any size.
        sizes: smallest and largest size, in billions, by default those that the law was fitted to.
        tokens: fewest and most visual tokens, of a picture or frame.
        frames: counts to choose from, by default those that the law was fitted to.
        encoder_flops: of the vision encoder, a picture or frame; 0 leaves it out of the budget.
        draws: of the bootstrap.

    Raises:
        InputError: a budget of another kind, or that no size fits, or frames asked of a law without.
    """
    asked = Budget.of_flops(budget, "a law's budget")
    if asked.encoder and not encoder_flops:
        raise InputError("a law knows no encoder: its budget with encoder needs encoder_flops")
    return optimum(
        law,
        asked.value,
        text_tokens,
        models=models,
        sizes=sizes,
        tokens=tokens,
        frames=frames,
        encoder_flops=encoder_flops,
        draws=draws,
    )


@overload
def plan(
    model: Any,
    budget: Budget | float | int | str,
    media: Visual | None = None,
    text_tokens: int = TEXT_TOKENS,
    *,
    answer_tokens: int = ANSWER_TOKENS,
    task: Task | Literal["auto"] | str = TASK,
    pixels: Sequence[Any] = (),
    machine: Machine | str = MACHINE,
    measured: Sequence[Measured] | Path | str = (),
    analysis: Suggests | Path | str | None = None,
    itemsize: int = ITEMSIZE,
) -> Plan: ...


@overload
def plan(
    model: Any,
    *,
    frames: int,
    text_tokens: int = TEXT_TOKENS,
    reduction: Given | None = None,
    size: tuple[int, int] | None = None,
    encoder: bool = False,
    convention: Convention = "exact",
) -> Frames: ...


@overload
def plan(
    *,
    budget: Budget | float | int | str,
    law: Law | Mixture,
    text_tokens: Number = QUERY_TOKENS,
    models: Mapping[str, Number] | None = None,
    sizes: tuple[Number, Number] | None = None,
    tokens: tuple[Number, Number] = TOKENS,
    frames: Sequence[Number] | None = None,
    encoder_flops: Number = 0.0,
    draws: int = DRAWS,
) -> Optimum: ...


def plan(model: Any = None, budget: Any = None, *arguments: Any, **knobs: Any) -> Any:
    """What to choose: a reduction for a budget, frames for a reduction, or a model size for a law.

    - `plan(model, budget)`: a `Plan`, whose `reduction` fits the budget; see `plan_reduction`.
    - `plan(model, frames=32)`: how many reduced `Frames` cost no more than 32 whole ones; see
      `plan_frames`.
    - `plan(budget=1e12, law=law)`: the `Optimum` of LLM size, visual tokens and frames at so many FLOPs;
      see `plan_size`.

    Raises:
        InputError: none or several of these were asked.
    """
    law, frames = knobs.pop("law", None), knobs.pop("frames", None)
    if law is not None and model is None and budget is not None:
        return plan_size(budget, law, frames=frames, **knobs)
    if law is None and model is not None and frames is None and budget is not None:
        return plan_reduction(model, budget, *arguments, **knobs)
    if law is None and model is not None and frames is not None and budget is None:
        return plan_frames(model, frames, **knobs)
    raise InputError("plan takes a model and a budget, a model and frames, or a budget and a law")
