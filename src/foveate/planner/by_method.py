"""From a budget to one method's own setting: the largest share of visual tokens at which it fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from foveate.cost.configs import config_of
from foveate.cost.hardware import Machine
from foveate.cost.request import Request, RequestCost, Visual
from foveate.defaults import ANSWER_TOKENS, MACHINE
from foveate.errors import InputError, UnsupportedError
from foveate.models.limits import Limits
from foveate.planner.budget import Budget
from foveate.planner.costs import Costs, first_that_fits
from foveate.planner.reduction import ITEMSIZE, Plan
from foveate.reduction import Reduction, as_reduction, at_share
from foveate.registry import Method, method, methods

STEPS = 100  # settings that are tried of a method


@dataclass(frozen=True)
class Setting:
    """A method with its knobs.

    Attributes:
        reduction: the method.
    """

    reduction: Reduction

    def cost(self, request: Request) -> RequestCost:
        """Cost of a request under this setting."""
        return request.cost(self.reduction)


def plan_method(
    model: Any,
    budget: Budget | float | int | str,
    name: str,
    media: Visual,
    text_tokens: int,
    *,
    answer_tokens: int = ANSWER_TOKENS,
    machine: Machine | str = MACHINE,
    itemsize: int = ITEMSIZE,
) -> Plan:
    """One method at the largest share of the visual tokens that fits the budget, of 100 settings or so.

    Args:
        model: as in `plan_reduction`.
        budget: see `Budget.of`.
        name: of the method.
        media: what is shown; or visual tokens.
        text_tokens: of the prompt.
        answer_tokens: which the KV cache of the budget must hold too.
        machine: that milliseconds are of.
        itemsize: bytes of a number in the KV cache.

    Raises:
        BudgetError: no share fits, or none that fits pays; the message gives the cheapest and its cost.
        UnsupportedError: the model refuses the method.
        InputError: no such method, or one that no share sets, such as those in the encoder.
    """
    config, found = config_of(model), method(name)
    request = Request.of(config, media, text_tokens, answer_tokens)
    costs = Costs([request], Budget.of(budget), machine, itemsize)
    settings = _settings(found, request.llm.layers)
    if reason := Limits.of_config(config).refusal(settings[-1].reduction):
        raise UnsupportedError(reason)
    chosen = first_that_fits(settings, costs)
    cost = chosen.cost(request)
    share = fmean(cost.visual_tokens_by_layer) / max(1, cost.visual_tokens_in)
    why = f"the most visual tokens with which {name} fits: {share:.1%} of them, mean over layers"
    return Plan(chosen.reduction, why, cost, costs.unreduced[0], method=name)


def plannable(model: Any) -> list[str]:
    """Names of the methods that `plan_method` takes and the model does not refuse, sorted."""
    config = config_of(model)
    limits = Limits.of_config(config)
    return [name for name, row in methods().items() if _is_plannable(row, limits)]


def _is_plannable(row: Method, limits: Limits) -> bool:
    try:
        return not limits.refusal(at_share(row, 1 / 2, limits.layout.depth))
    except InputError:
        return False


@lru_cache
def _settings(found: Method, layers: int) -> Sequence[Setting]:
    """Settings of a method, the costliest first: those that it lists, or at all shares that it reaches.

    Raises:
        InputError: no share sets it.
    """
    listed = getattr(found.build, "candidates", None)
    if listed is not None:
        every = listed(layers)[::-1]
        places = {round(step * (len(every) - 1) / STEPS) for step in range(STEPS + 1)}
        return [Setting(as_reduction(every[place])) for place in sorted(places)]
    reached = list(_reached(found, layers))
    if not reached:
        at_share(found, 1 / 2, layers)  # says why
        raise InputError(f"{found.name} reaches no share of the visual tokens of {layers} layers")
    return reached


def _reached(found: Method, layers: int) -> Iterator[Setting]:
    for step in range(STEPS, 0, -1):
        try:
            yield Setting(at_share(found, step / STEPS, layers))
        except InputError:  # some methods reach some shares only
            continue
