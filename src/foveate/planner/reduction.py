"""From a budget to a reduction, for one model and one input, by the cost model and what was measured."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from foveate.cost.configs import config_of
from foveate.cost.hardware import Machine
from foveate.cost.request import Request, RequestCost, Visual
from foveate.cost.vision.encoder import Media
from foveate.defaults import ANSWER_TOKENS, MACHINE, TASK, TEXT_TOKENS
from foveate.errors import InputError
from foveate.figures import blank, draw_pairs, draw_tokens, style
from foveate.models.limits import Limits
from foveate.planner.advice import advice
from foveate.planner.asked import Asked
from foveate.planner.budget import Budget
from foveate.planner.costs import Costs, first_that_fits
from foveate.planner.degradation import (
    UNREDUCED,
    WHOLE_REQUEST,
    Step,
    Task,
    degradation_order,
)
from foveate.planner.measured import (
    RESIZING,
    Measured,
    answered_enough,
    of_task,
    pareto,
    read_measured,
)
from foveate.planner.suggestion import Suggests, read_analysis
from foveate.planner.text_guard import task_of
from foveate.records.intervals import Difference
from foveate.records.read import RESIZE, WORDS
from foveate.reduction import Reduction, typed
from foveate.report import STAGES, html_table

LOG = logging.getLogger(__name__)
ORDERS = {  # by whether the encoder is a place to save in
    False: "order of AIM's ablations",
    True: "order over encoder, merging and pruning by foveate-mini's validation scenes",
}
ITEMSIZE = 2  # bytes of a number in the KV cache: fp16 or bf16


@dataclass(frozen=True)
class Plan:
    """A reduction that fits a budget.

    Attributes:
        reduction: what to do.
        why: what it rests on.
        cost: of one answer.
        unreduced: the same without the reduction.
        method: name of the method that was measured; where nothing was, "aim", or "fovea" for a budget
            that counts the encoder.
        accuracy: measured with this reduction, None where it was not.
        difference: of the accuracy to that of no reduction, paired, with its 95 % interval; or None.
        questions: how many it was measured on, 0 where it was not.
        beats_resizing: whether it was measured to answer better than the picture made smaller at the same
            budget; None where that was not measured.
        advice: whether training for so few tokens would answer better; None where that is not known.
    """

    reduction: Reduction
    why: str
    cost: RequestCost
    unreduced: RequestCost
    method: str = "aim"
    accuracy: float | None = None
    difference: Difference | None = None
    questions: int = 0
    beats_resizing: bool | None = None
    advice: str | None = None

    @property
    def keep(self) -> float:
        """Share of visual tokens that reach the LLM: of AIM the knob, of any method what it comes to."""
        knob, came = getattr(self.reduction, "keep", None), self.cost.visual_tokens_in
        if knob is not None:
            return knob
        return self.cost.visual_tokens_to_llm / came if came else 1.0

    @property
    def prune(self) -> tuple[int | float, int | float] | None:
        """Start and stop of AIM's pruning, None for none and for methods without."""
        return getattr(self.reduction.inside, "prune", None)

    @property
    def flops_share(self) -> float:
        """Of the LLM's unreduced prefill FLOPs."""
        return self.cost.prefill_flops / self.unreduced.prefill_flops

    @property
    def request_share(self) -> float | None:
        """Of the unreduced FLOPs from pixels to the last token; None where encoding is not known."""
        return self.cost.flops / self.unreduced.flops if "encode" in self.cost.parts else None

    @property
    def summary(self) -> str:
        """What the reduction leaves, in one line."""
        right = ""
        if self.accuracy is not None:
            right = f", {self.accuracy:.1%} of {self.questions:,} questions right"
        if self.difference is not None:
            right += f" ({_points(self.difference)} against unreduced)"
        whole = (
            ""
            if self.request_share is None
            else f" ({self.request_share:.1%} of all FLOPs with encoder)"
        )
        return (
            f"{self.cost.visual_tokens_to_llm} of {self.cost.visual_tokens_in} visual tokens, "
            f"{self.flops_share:.1%} of the prefill FLOPs{whole}{right}"
        )

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json` can write."""
        return {
            "method": self.method,
            "reduction": self.reduction.to_dict(),
            "keep": self.keep,
            "prune": self.prune,
            "why": self.why,
            "accuracy": self.accuracy,
            "difference": None if self.difference is None else vars(self.difference),
            "questions": self.questions,
            "beats_resizing": self.beats_resizing,
            "advice": self.advice,
            "flops_share": self.flops_share,
            "request_share": self.request_share,
            "visual_tokens_to_llm": self.cost.visual_tokens_to_llm,
        }

    def __repr__(self) -> str:
        return f"Plan({typed(self.reduction)}: {self.summary}; {self.why})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = [("reduction", typed(self.reduction)), ("leaves", self.summary), ("why", self.why)]
        return html_table(("plan", self.method), rows)

    def plot(self) -> Any:
        """A figure of matplotlib: visual tokens by layer, and the FLOPs of each stage.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """

        def gflop(cost: RequestCost, stage: str) -> float:
            return cost.parts[stage].flops / 1e9 if stage in cost.parts else 0.0

        counted = self.unreduced.parts.keys() | self.cost.parts.keys()
        stages = {
            stage: (gflop(self.unreduced, stage), gflop(self.cost, stage))
            for stage in STAGES
            if stage in counted
        }
        with style():
            figure, ((tokens, flops),) = blank(columns=2)
            layers, whole = self.cost.visual_tokens_by_layer, self.unreduced.visual_tokens_in
            draw_tokens(tokens, [layers], [whole], [self.method])
            draw_pairs(flops, stages, "GFLOP by stage")
            figure.suptitle(typed(self.reduction), wrap=True)
        return figure


def plan_reduction(
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
) -> Plan:
    """The reduction that gives up least and fits the budget.

    Args:
        model: a published model's name, a folder, a config, or a model that has one.
        budget: see `Budget.of`.
        media: what is shown, default one picture; or visual tokens, one count or a count a tile or frame.
        text_tokens: of the prompt.
        answer_tokens: which the KV cache of the budget must hold too.
        task: "reasoning", "ocr", which gives tokens up last, "auto", which looks at the pixels, or a task
            that was measured.
        pixels: for "auto", the pictures shown, (H, W, 3) of 0 to 255.
        machine: that milliseconds are of, a name or a calibration.
        measured: what `foveate measure` wrote of this model, a file or its rows: the most accurate method
            and setting that fits is chosen. Without it a fixed order is gone down
            (`foveate.planner.degradation`): that of AIM's ablations, with `AIM`; for a budget that counts
            the encoder one over all three places, with `Fovea` and `ToMeEncoder`.
        analysis: of this model, or the file of one: without accuracies, its schedule is tried first, and
            the order goes down from there.
        itemsize: bytes of a number in the KV cache.

    Raises:
        BudgetError: nothing fits; the message gives the cheapest plan and its cost. Or what fits would
            take longer to the first token than no reduction; a budget of KV cache may cost time.
        InputError: a file of another model or of other tasks; "auto" without pictures; tokens instead of
            pictures where the budget counts the encoder.
    """
    config = config_of(model)
    request = Request.of(config, Media() if media is None else media, text_tokens, answer_tokens)
    rows = read_measured(measured, model)
    start = None if analysis is None else read_analysis(analysis)
    chosen = decide(task, pixels)
    plan = plan_requests(
        [request], budget, chosen, machine, rows, start, itemsize=itemsize,
        limits=Limits.of_config(config),
    )  # fmt: skip
    is_clip = request.media is not None and request.media.frames > 0
    return plan if is_clip else replace(plan, advice=advice(chosen, plan.keep, config))


def plan_requests(
    requests: Sequence[Request],
    budget: Budget | float | int | str,
    task: str = TASK,
    machine: Machine | str = MACHINE,
    measured: Sequence[Measured] = (),
    analysis: Suggests | None = None,
    *,
    itemsize: int = ITEMSIZE,
    limits: Limits | None = None,
) -> Plan:
    """One reduction for several prompts, each of which must fit the budget by itself.

    Args:
        requests: the prompts, at least one; costs told are of the costliest.
        budget: of each answer.
        task: as in `plan_reduction`, but "auto".
        machine: as in `plan_reduction`.
        measured: rows.
        analysis: of this model.
        itemsize: bytes of a number in the KV cache.
        limits: of the model, which leave out what it refuses; None if it refuses nothing.

    Raises:
        BudgetError: as in `plan_reduction`.
        InputError: an analysis of another depth or beside what was measured, or nothing measured on the
            task that the model does not refuse.
    """
    asked = Asked(limits, requests)
    costs = Costs(requests, Budget.of(budget), machine, itemsize)
    if measured and analysis is not None:
        raise InputError("a plan rests on measured= or on analysis=, got both")
    if measured:
        return _most_accurate(of_task(measured, task), task, costs, asked)
    layers = requests[0].llm.layers
    first = WHOLE_REQUEST if costs.encoder else UNREDUCED
    order = ORDERS[costs.encoder]
    if analysis is not None:
        first, order = _suggested(analysis, layers), f"{order}, from an analysis on"
    group = max(count for request in requests for count in request.groups)
    order_of = degradation_order(layers, group, task, first, asked.refusal, encoder=costs.encoder)
    chosen = first_that_fits(list(order_of), costs)
    why = f"{order}, {task}: gave up {chosen.gave_up}"
    if costs.encoder and chosen.encode == 1:
        why += "; the encoder is left whole"
    return _plan(costs, chosen.reduction, why + asked.told, method=chosen.method)


def decide(task: str, pixels: Sequence[Any]) -> str:
    """The task itself, or for "auto" what the pictures look like.

    Raises:
        InputError: "auto" without pictures.
    """
    if task != "auto":
        return task
    if not len(pixels):
        raise InputError('task="auto" looks at the pictures: give them as pixels=')
    return task_of(pixels)


def _plan(costs: Costs, reduction: Reduction, why: str, **more: Any) -> Plan:
    """The plan of a reduction that fits."""
    each = [request.cost(reduction) for request in costs.requests]
    _, place = costs.costliest(each)
    if costs.slower(each):
        why += f"; slower than unreduced on {costs.machine.name}"
    LOG.info("for %s: %s; %s", costs.budget.text(costs.budget.value), typed(reduction), why)
    return Plan(reduction, why, each[place], costs.unreduced[place], **more)


def _most_accurate(rows: Sequence[Measured], task: str, costs: Costs, asked: Asked) -> Plan:
    """The most accurate method and setting that fits, held against the picture made smaller."""
    rows = [row for row in rows if not asked.refusal(row.reduction)]
    enough = answered_enough(rows)
    candidates = [(costs.of(row), row) for row in enough if row.method != RESIZE]
    affordable = [(cost, row) for cost, row in candidates if cost <= costs.budget.value]
    if not candidates:
        raise InputError(
            f"nothing but resizing was measured on {task!r}; measure a method{asked.told}"
        )
    if not affordable:
        cost, row = min(candidates, key=lambda pair: pair[0])
        raise costs.refuse(row.reduction, cost)
    paying = [(cost, row) for cost, row in affordable if costs.pays(row)]
    if not paying:
        raise costs.refuse_slower(min(affordable, key=lambda pair: pair[0])[1].reduction)
    best = pareto(paying)[-1][1]
    on = task if best.task == task else f"the {best.task} of the tasks"
    why = f"the most accurate of {len(paying)} settings that fit"
    why += f", of {len(candidates)} measured on {on}"
    if slower := len(affordable) - len(paying):
        why += f" ({slower} that fit but are slower than unreduced left out)"
    if unfinished := len(rows) - len(enough):
        why += f" ({unfinished} with too few answers left out)"
    why += asked.told
    beats, verdict = _verdict(best, _resizing(enough, costs))
    return _plan(
        costs, best.reduction, f"{why}; {verdict}", method=best.method, accuracy=best.accuracy,
        difference=best.difference, questions=len(best.scores), beats_resizing=beats,
    )  # fmt: skip


def _resizing(rows: Sequence[Measured], costs: Costs) -> Measured | None:
    """The most accurate resizing that fits: of the picture, or else of its features."""
    for name in RESIZING:
        named = ((costs.of(row), row) for row in rows if row.method == name)
        if fitting := pareto(pair for pair in named if pair[0] <= costs.budget.value):
            return fitting[-1][1]
    return None


def _verdict(best: Measured, plain: Measured | None) -> tuple[bool | None, str]:
    """Whether a setting answers better than a resized picture, and the same in words."""
    if plain is None:
        return None, "no resizing that fits was measured"
    word = f"{WORDS[plain.method]} to {plain.share:.3g}"
    if best.method == plain.method:
        return False, f"no other method that fits does better than {word}"
    found = best.against(plain)
    if found is None:
        return None, f"no question was answered both under it and by {word}"
    if found.low > 0:
        return True, f"better than {word} ({_points(found)})"
    return False, f"nothing that fits beats {word} ({_points(found)})"


def _points(found: Difference) -> str:
    """A difference of accuracies with its interval, in points."""
    return f"{100 * found.mean:+.1f} points, {100 * found.low:+.1f} to {100 * found.high:+.1f}"


def _suggested(analysis: Suggests, layers: int) -> Step:
    """Where the order of an analysed model begins."""
    if analysis.layers != layers:
        raise InputError(
            f"the analysis is of an LLM of {analysis.layers} layers, this one has {layers}"
        )
    return Step(analysis.keep, analysis.prune, "what the analysis suggests")
