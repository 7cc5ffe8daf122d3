"""From a budget to a reduction, for one model and one input, by the cost model and what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foveate.errors import InputError
from foveate.measure.configs import read_config
from foveate.measure.cost import Convention
from foveate.measure.hardware import Machine
from foveate.measure.hardware import hardware as machine_named
from foveate.measure.request import Prune, RequestCost, request_cost
from foveate.measure.shapes import read_llm
from foveate.measure.vision.encoder import Media, encode
from foveate.plan.budget import Budget
from foveate.plan.frontier import Mixture, Optimum, optimum
from foveate.plan.ladder import Rung, Task, ladder
from foveate.plan.law import Law
from foveate.plan.measured import Measured, pareto
from foveate.plan.text import task_of
from foveate.registry import method

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
      `foveate.plan.frontier.optimum`.

    Raises:
        InputError: none or several of these were asked.
    """
    if law is not None and model is None and frames is None and budget is not None:
        asked = Budget.of(budget if isinstance(budget, (str, Budget)) else Budget("flops", budget))
        if asked.kind != "flops":
            raise InputError(f"a law's budget is FLOPs, got {asked.text(asked.value)}")
        return optimum(law, asked.value, **{"text_tokens": 50, **more})
    if law is None and model is not None and (frames is None) != (budget is None):
        if frames is not None:
            return plan_frames(model, frames, **more)
        return plan_reduction(model, budget or 0, **more)
    raise InputError("plan takes a model and a budget, a model and frames, or a budget and a law")


def plan_reduction(
    model: Any,
    budget: Budget | float | int | str,
    media: Media | int | None = None,
    text_tokens: int = 100,
    *,
    answer_tokens: int = 1,
    task: Task | Literal["auto"] = "reasoning",
    pixels: Sequence[Any] = (),
    machine: Machine | str = "a100",
    measured: Sequence[Measured] = (),
) -> Plan:
    """The reduction that gives up least and fits the budget.

    Args:
        model: a published model's name, a folder, a config, or a model that has one.
        budget: see `Budget.of`.
        media: what is shown, default one picture; or a count of visual tokens.
        text_tokens: of the prompt.
        answer_tokens: which the KV cache of the budget must hold too.
        task: "reasoning", "ocr", which gives tokens up last, or "auto", which looks at the pixels.
        pixels: for "auto", the pictures shown, (H, W, 3) of 0 to 255.
        machine: that milliseconds are of, a name or a calibration.
        measured: accuracies of settings on this model and task; without them the order is that of the
            published ablations (`foveate.plan.ladder`).

    Raises:
        InputError: nothing fits; the message gives the cheapest plan and its cost.
    """
    config, asked = config_of(model), Budget.of(budget)
    if task == "auto":
        if not len(pixels):
            raise InputError('task="auto" looks at the pictures: give them as pixels=')
        task = task_of(pixels)
    media = Media() if media is None else media
    on = machine_named(machine) if isinstance(machine, str) else machine

    def cost_of(keep: float, prune: Prune | None) -> RequestCost:
        return request_cost(
            config, media, text_tokens, answer_tokens=answer_tokens, keep=keep, prune=prune
        )

    unreduced = cost_of(1.0, None)

    def spent(cost: RequestCost) -> float:
        return asked.spent(cost, unreduced, on, ITEMSIZE)

    if relevant := [row for row in measured if row.task == task]:
        return _measured_plan(relevant, asked, cost_of, spent, unreduced)
    group = max(encode(config, media).groups if isinstance(media, Media) else (media,))
    rungs = list(ladder(read_llm(config).layers, group, task))
    found = _first_that_fits(
        rungs, lambda rung: spent(cost_of(rung.keep, rung.prune)) <= asked.value
    )
    if found is None:
        last = rungs[-1]
        raise _infeasible(asked, last.keep, last.prune, spent(cost_of(last.keep, last.prune)))
    why = f"order of AIM's ablations, {task}: gave up {found.stage}"
    cost = cost_of(found.keep, found.prune)
    return Plan(found.keep, found.prune, why, None, cost, unreduced)


def plan_frames(
    model: Any,
    frames: int,
    text_tokens: int = 100,
    *,
    keep: float = 0.25,
    prune: Prune | None = (0.5, 0.786),
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


def _first_that_fits(rungs: Sequence[Rung], fits: Callable[[Rung], bool]) -> Rung | None:
    """The first rung that fits, by bisection: each is cheaper than the one before."""
    if not fits(rungs[-1]):
        return None
    low, high = -1, len(rungs) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(rungs[middle]) else (middle, high)
    return rungs[high]


def _measured_plan(
    rows: Sequence[Measured],
    asked: Budget,
    cost_of: Callable[[float, Prune | None], RequestCost],
    spent: Callable[[RequestCost], float],
    unreduced: RequestCost,
) -> Plan:
    """The most accurate setting of the Pareto front that fits."""
    front = pareto((spent(cost_of(row.keep, row.prune)), row) for row in rows)
    affordable = [row for cost, row in front if cost <= asked.value]
    if not affordable:
        cost, row = front[0]
        raise _infeasible(asked, row.keep, row.prune, cost)
    best = affordable[-1]
    why = f"the most accurate of {len(rows)} settings measured on {best.task} that fit"
    return Plan(
        best.keep, best.prune, why, best.accuracy, cost_of(best.keep, best.prune), unreduced
    )  # fmt: skip


def _infeasible(asked: Budget, keep: float, prune: Prune | None, cost: float) -> InputError:
    return InputError(
        f"no plan fits {asked.text(asked.value)}; the cheapest is keep={keep:.4g}, prune={prune} "
        f"at {asked.text(cost)}"
    )


def config_of(model: Any) -> Any:
    """The config of a model, of a folder or of a published name; a config is itself."""
    if isinstance(model, str):
        return read_config(model)
    model = getattr(model, "model", model)
    return getattr(model, "config", model)
