"""From a budget to a reduction, for one model and one input, by the cost model and what was measured."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from foveate.cost.configs import read_config
from foveate.cost.hardware import Machine
from foveate.cost.hardware import hardware as machine_named
from foveate.cost.llm import Convention
from foveate.cost.request import Prune, RequestCost, Visual, request_cost, visual_groups
from foveate.cost.shapes import read_llm
from foveate.cost.vision.encoder import Media
from foveate.defaults import (
    ANSWER_TOKENS,
    KEEP,
    MACHINE,
    PRUNE,
    QUERY_TOKENS,
    TASK,
    TEXT_TOKENS,
)
from foveate.errors import BudgetError, InputError
from foveate.laws.frontier import Mixture, Optimum, optimum
from foveate.laws.law import Law
from foveate.planner.budget import Budget
from foveate.planner.ladder import WHOLE, Rung, Task, ladder
from foveate.planner.measured import Measured, pareto
from foveate.planner.suggestion import Suggests, read_analysis
from foveate.planner.text_guard import task_of
from foveate.registry import method

LOG = logging.getLogger(__name__)
Spending = Callable[
    [float, Prune | None], tuple[float, int]
]  # what the dearest sample costs; which
ITEMSIZE = 2  # bytes of a number in the KV cache: fp16 or bf16
MOST_FRAMES = 1 << 16


@dataclass(frozen=True)
class Plan:
    """A reduction that fits a budget.

    Attributes:
        keep: share of each tile's or frame's visual tokens that reaches the LLM.
        prune: start and stop of pruning, None for none.
        why: what it rests on.
        accuracy: measured with these knobs, None where it was not.
        cost: of one answer.
        unreduced: the same without the reduction.
    """

    keep: float
    prune: Prune | None
    why: str
    accuracy: float | None
    cost: RequestCost
    unreduced: RequestCost

    @property
    def reduction(self) -> Any:
        """The `foveate.Reduction`; making it is what needs torch."""
        return method("aim").build(keep=self.keep, prune=self.prune)

    @property
    def flops_share(self) -> float:
        """Of the LLM's unreduced prefill FLOPs."""
        return self.cost.prefill_flops / self.unreduced.prefill_flops


@dataclass(frozen=True)
class Frames:
    """How many frames a reduction makes room for.

    Attributes:
        frames: the most whose reduced cost is at most that of `of` unreduced ones.
        of: unreduced frames.
        cost: of the reduced clip.
        unreduced: of the unreduced one.
    """

    frames: int
    of: int
    cost: RequestCost
    unreduced: RequestCost


def plan(
    model: Any = None,
    budget: Budget | float | int | str | None = None,
    *,
    frames: int | None = None,
    law: Law | Mixture | None = None,
    **more: Any,
) -> Plan | Frames | Optimum:
    """What to choose: a reduction for a budget, frames for a reduction, or a model size for a law.

    - `plan(model, budget)`: a `Plan`, whose `reduction` fits the budget; see `plan_reduction`.
    - `plan(model, frames=32)`: how many reduced `Frames` cost no more than 32 whole ones; see
      `plan_frames`.
    - `plan(budget=1e12, law=law)`: the `Optimum` of LLM size and visual tokens at so many FLOPs; see
      `foveate.laws.frontier.optimum`.

    Raises:
        InputError: none or several of these were asked.
    """
    if law is not None and model is None and frames is None and budget is not None:
        asked = Budget.of(budget if isinstance(budget, (str, Budget)) else Budget("flops", budget))
        if asked.kind != "flops":
            raise InputError(f"a law's budget is FLOPs, got {asked.text(asked.value)}")
        return optimum(law, asked.value, **{"text_tokens": QUERY_TOKENS, **more})
    if law is None and model is not None and (frames is None) != (budget is None):
        if frames is not None:
            return plan_frames(model, frames, **more)
        return plan_reduction(model, budget or 0, **more)
    raise InputError("plan takes a model and a budget, a model and frames, or a budget and a law")


def plan_reduction(
    model: Any,
    budget: Budget | float | int | str,
    media: Visual | None = None,
    text_tokens: int = TEXT_TOKENS,
    *,
    task: Task | Literal["auto"] = TASK,
    pixels: Sequence[Any] = (),
    **more: Any,
) -> Plan:
    """The reduction that gives up least and fits the budget.

    Args:
        model: a published model's name, a folder, a config, or a model that has one.
        budget: see `Budget.of`.
        media: what is shown, default one picture; or visual tokens, one count or a count a tile or frame.
        text_tokens: of the prompt.
        task: "reasoning", "ocr", which gives tokens up last, or "auto", which looks at the pixels.
        pixels: for "auto", the pictures shown, (H, W, 3) of 0 to 255.
        **more: `answer_tokens`, `machine`, `measured`, `analysis` and `itemsize`, as in `plan_batch`.

    Raises:
        BudgetError: nothing fits; the message gives the cheapest plan and its cost.
    """
    shown = Media() if media is None else media
    return plan_batch(model, budget, [(shown, text_tokens)], task=decide(task, pixels), **more)


def plan_batch(
    model: Any,
    budget: Budget | float | int | str,
    samples: Sequence[tuple[Visual, int]],
    *,
    answer_tokens: int = ANSWER_TOKENS,
    task: Task = TASK,
    machine: Machine | str = MACHINE,
    measured: Sequence[Measured] = (),
    analysis: Suggests | Path | None = None,
    itemsize: int = ITEMSIZE,
) -> Plan:
    """One reduction for several prompts, each of which must fit the budget by itself.

    Args:
        model: as in `plan_reduction`.
        budget: of each answer.
        samples: what is shown and how many text tokens, at least one; costs told are of the dearest.
        answer_tokens: which the KV cache of the budget must hold too.
        task: "reasoning" or "ocr".
        machine: that milliseconds are of, a name or a calibration.
        measured: accuracies of settings on this model and task; without them the order is that of the
            published ablations (`foveate.planner.ladder`).
        analysis: of this model, or the file of one: without accuracies, its schedule is tried first, and
            the order goes down from there.
        itemsize: bytes of a number in the KV cache.

    Raises:
        BudgetError: nothing fits; the message gives the cheapest plan and its cost.
        InputError: an analysis of another depth.
    """
    config, asked = config_of(model), Budget.of(budget)
    on = machine_named(machine) if isinstance(machine, str) else machine

    def costs_of(keep: float, prune: Prune | None) -> list[RequestCost]:
        return [
            request_cost(config, *sample, answer_tokens=answer_tokens, keep=keep, prune=prune)
            for sample in samples
        ]

    unreduced = costs_of(1.0, None)

    def dearest(keep: float, prune: Prune | None) -> tuple[float, int]:
        pairs = zip(costs_of(keep, prune), unreduced, strict=True)
        spent = [asked.spent(cost, whole, on, itemsize) for cost, whole in pairs]
        return max(zip(spent, range(len(spent)), strict=True))

    if relevant := [row for row in measured if row.task == task]:
        keep, prune, accuracy, why = _most_accurate(relevant, asked, dearest)
    else:
        layers = read_llm(config).layers
        group = max(count for shown, _ in samples for count in visual_groups(config, shown))
        top, order = WHOLE, "order of AIM's ablations"
        if analysis is not None:
            top, order = _suggested(analysis, layers), f"{order}, from an analysis on"
        keep, prune, stage = _highest_rung(list(ladder(layers, group, task, top)), asked, dearest)
        accuracy, why = None, f"{order}, {task}: gave up {stage}"
    LOG.info("for %s: keep=%.4g, prune=%s; %s", asked.text(asked.value), keep, prune, why)
    _, place = dearest(keep, prune)
    return Plan(keep, prune, why, accuracy, costs_of(keep, prune)[place], unreduced[place])


def _suggested(analysis: Suggests | Path, layers: int) -> Rung:
    """Where the ladder of an analysed model begins."""
    found = read_analysis(analysis) if isinstance(analysis, Path) else analysis
    if found.layers != layers:
        raise InputError(
            f"the analysis is of an LLM of {found.layers} layers, this one has {layers}"
        )
    return Rung(found.keep, found.prune, "what the analysis suggests")


def decide(task: Task | Literal["auto"], pixels: Sequence[Any]) -> Task:
    """The task itself, or for "auto" what the pictures look like.

    Raises:
        InputError: "auto" without pictures.
    """
    if task != "auto":
        return task
    if not len(pixels):
        raise InputError('task="auto" looks at the pictures: give them as pixels=')
    return task_of(pixels)


def plan_frames(
    model: Any,
    frames: int,
    text_tokens: int = TEXT_TOKENS,
    *,
    keep: float = KEEP,
    prune: Prune | None = PRUNE,
    size: tuple[int, int] | None = None,
    encoder: bool = False,
    convention: Convention = "exact",
) -> Frames:
    """How many frames, reduced, cost no more than `frames` unreduced ones.

    Args:
        model: as in `plan_reduction`.
        frames: unreduced.
        text_tokens: of the prompt.
        keep: of the reduced clip.
        prune: of the reduced clip.
        size: height and width of a frame.
        encoder: whether vision tower and projector count; every frame goes through them whole, so that
            they soon are what costs.
        convention: "llm-viewer" counts what AIM's tables count.

    Raises:
        InputError: fewer than one frame, or knobs out of range.
    """
    if frames < 1:
        raise InputError(f"frames must be at least 1, got {frames}")
    config = config_of(model)

    def cost_of(count: int, keep: float, prune: Prune | None) -> RequestCost:
        media = Media(frames=count, height=size and size[0], width=size and size[1])
        return request_cost(
            config, media, text_tokens, keep=keep, prune=prune, convention=convention
        )

    def spent(cost: RequestCost) -> int:
        return cost.flops if encoder else cost.prefill_flops

    unreduced = cost_of(frames, 1.0, None)
    low, high = 0, frames
    while high < MOST_FRAMES and spent(cost_of(high, keep, prune)) <= spent(unreduced):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = spent(cost_of(middle, keep, prune)) <= spent(unreduced)
        low, high = (middle, high) if fits else (low, middle)
    return Frames(low, frames, cost_of(max(low, 1), keep, prune), unreduced)


def _highest_rung(
    rungs: Sequence[Rung], asked: Budget, dearest: Spending
) -> tuple[float, Prune | None, str]:
    """The first rung that fits, by bisection: each is cheaper than the one before."""

    def spent(place: int) -> float:
        return dearest(rungs[place].keep, rungs[place].prune)[0]

    low, high = -1, len(rungs) - 1
    if (least := spent(high)) > asked.value:
        raise _infeasible(asked, rungs[high].keep, rungs[high].prune, least)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if spent(middle) <= asked.value else (middle, high)
    return rungs[high].keep, rungs[high].prune, rungs[high].stage


def _most_accurate(
    rows: Sequence[Measured], asked: Budget, dearest: Spending
) -> tuple[float, Prune | None, float, str]:
    """The most accurate setting of the Pareto front that fits."""
    front = pareto((dearest(row.keep, row.prune)[0], row) for row in rows)
    affordable = [row for cost, row in front if cost <= asked.value]
    if not affordable:
        cost, row = front[0]
        raise _infeasible(asked, row.keep, row.prune, cost)
    best = affordable[-1]
    why = f"the most accurate of {len(rows)} settings measured on {best.task} that fit"
    return best.keep, best.prune, best.accuracy, why


def _infeasible(asked: Budget, keep: float, prune: Prune | None, cost: float) -> BudgetError:
    return BudgetError(
        f"no plan fits {asked.text(asked.value)}; the cheapest is keep={keep:.4g}, prune={prune} "
        f"at {asked.text(cost)}"
    )


def config_of(model: Any) -> Any:
    """The config of a model, of a folder or of a published name; a config is itself."""
    if isinstance(model, str):
        return read_config(model)
    model = getattr(model, "model", model)
    return getattr(model, "config", model)
