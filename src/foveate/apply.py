"""`foveate.reduce`: apply a reduction to a model, or let a budget choose one for each prompt."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from foveate.cost.hardware import Machine
from foveate.cost.request import Request
from foveate.cost.shapes import read_llm
from foveate.defaults import ANSWER_TOKENS, MACHINE, TASK
from foveate.errors import InputError
from foveate.models.family import family_of
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.planner.measured import Measured, read_measured
from foveate.planner.reduction import decide, plan_requests
from foveate.planner.suggestion import Suggests, read_analysis
from foveate.reduction import Given, Reduction, as_reduction
from foveate.runtime import reducer
from foveate.runtime.per_prompt import Choose, Sample, can_be_chosen
from foveate.runtime.target import Target


@contextmanager
def reduce(
    model: Any,
    reduction: Given | Choose | None = None,
    *,
    budget: Budget | float | int | str | None = None,
    everywhere: bool = False,
    **more: Any,
) -> Iterator[reducer.Run]:
    """Reduce the visual tokens of every forward and `generate` of `model` in this context.

    The context is Python's (`contextvars`): the current thread or asyncio task, the tasks and
    `asyncio.to_thread` calls that it starts, and whatever runs in a copy of it. Meanwhile the model
    refuses pictures from contexts without a reduction.

    Args:
        model: a stock transformers vision-language model of a supported family, or PEFT's or DDP's around
            one.
        reduction: what to do before and inside the LLM: a `Reduction`, a method alone, or a function that
            chooses one when a prompt is seen.
        budget: instead of a reduction, the most that an answer may cost: 0.25 or "25%" of the LLM's
            prefill FLOPs, "15 TFLOP", "120 MB" of KV cache, "60 ms" of prefill; each prompt gets a
            reduction of its own, when it has been encoded.
        everywhere: apply it also in all threads and tasks that open no reduce() of their own.
        **more: arguments of `fitting`, with a budget only.

    Yields:
        The run, whose `report` tells what the last prefill did.

    Raises:
        UnsupportedError: a model family, cache kind or option that cannot be reduced; or pictures from a
            thread or task without a reduction.
        InputError: neither a reduction nor a budget, or both; a class or a name instead of a reduction;
            layers out of range for this model; a reduce() inside another; or, at a prompt, a budget that
            nothing fits.
        NoEffectError: the reduction was asked for and changed nothing.
    """
    if (reduction is None) == (budget is None) or (more and budget is None):
        raise InputError(
            "reduce() takes a reduction such as foveate.AIM(keep=0.25) or a budget such as "
            f'budget="25%", not both; got {reduction!r}, budget={budget!r}, {more}'
        )
    wanted = fitting(model, budget, **more) if budget is not None else _wanted(reduction)
    with reducer.reduce(model, wanted, everywhere=everywhere) as run:
        yield run


def _wanted(given: Any) -> Reduction | Choose:
    """A function is kept, to choose when the prompt is seen; anything else must be a reduction now."""
    is_method = isinstance(given, type) or hasattr(given, "is_off")  # methods are callable, too
    chooses: Any = given if callable(given) and not is_method else None
    return as_reduction(given) if chooses is None else chooses


def check_of_budget(budget: Any, task: str, machine: Any) -> None:
    """Refuse a task or a machine without a budget, since nothing else uses them.

    Raises:
        InputError: one of them without a budget.
    """
    if budget is None and (task != TASK or machine is not None):
        raise InputError(
            f"task= and machine= are of a budget=, which is not given; got {task=}, {machine=}"
        )


def fitting(
    model: Any,
    budget: Budget | float | int | str,
    *,
    answer_tokens: int = ANSWER_TOKENS,
    task: Task | Literal["auto"] | str = TASK,
    pixels: Sequence[Any] = (),
    machine: Machine | str | None = None,
    measured: Sequence[Measured] | Path | str = (),
    analysis: Suggests | Path | str | None = None,
) -> Choose:
    """Make the function that chooses, from each prompt's token counts, a reduction within a budget.

    In a batch every sample must fit by itself. A budget in time covers merging, scoring and the LLM's
    prefill; it leaves out encoding, which is over when the tokens are counted.

    Args:
        model: the model that will be reduced.
        budget: as in `reduce`.
        answer_tokens: length of the answer, which counts towards a budget in bytes of KV cache.
        task: "reasoning", "ocr", "auto", which looks at the pixels, or a task that was measured.
        pixels: for "auto", the pictures shown.
        machine: the machine that the model runs on, for a budget in time: a calibration or a name.
        measured: what `foveate measure` wrote about this model, as in `foveate.plan`; methods that need
            encoder signals are left out, because encoding is over by then.
        analysis: an analysis of this model, or its file, as in `foveate.plan`.

    Raises:
        InputError: not a budget, or one that counts the encoder; a time without a machine, "auto" without
            pictures, or records of another model, or without a method that can be chosen after encoding.
    """
    asked, chosen = Budget.of(budget), decide(task, pixels)
    if asked.kind == "ms" and machine is None:
        raise InputError(
            "a budget in time needs machine= (--machine): a name such as h100, or a .json of "
            "foveate calibrate"
        )
    if asked.encoder:
        raise InputError(
            f"a budget with encoder is spent before anything is encoded, got {budget!r}: give it to "
            "vlm.ask, or reduce by foveate.plan(model, budget, media).reduction"
        )
    llm, inner = read_llm(model.config), reducer.unwrapped(model)
    limits = Target.of(inner, family_of(inner)).limits
    start = None if analysis is None else read_analysis(analysis)
    rows = _late(measured, model)

    def choose(samples: Sequence[Sample]) -> Reduction:
        requests = [
            Request(llm, sample.groups, sample.text_tokens, answer_tokens)
            for sample in samples
            if sample.groups
        ]
        size = model.dtype.itemsize
        return plan_requests(
            requests, asked, chosen, machine or MACHINE, rows, start, itemsize=size, limits=limits
        ).reduction

    return choose


def _late(measured: Sequence[Measured] | Path | str, model: Any) -> list[Measured]:
    """The measured settings that can be chosen when a prompt is seen, and resizing, to compare with."""
    rows = read_measured(measured, model)
    late = [row for row in rows if can_be_chosen(row.reduction)]
    if rows and all(row.reduction.is_off for row in late):
        raise InputError(
            "none of the measured methods can be chosen when a prompt is seen, for all need something of "
            f"the encoder: {', '.join(sorted({row.method for row in rows}))}; choose with foveate.plan "
            "and reduce by its reduction"
        )
    return late
