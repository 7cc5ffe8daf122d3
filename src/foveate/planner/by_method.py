"""From a budget to one method's own setting: the largest share of visual tokens at which it fits."""

from collections.abc import Iterator
from dataclasses import dataclass
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
from foveate.reduction import Reduction, at_share
from foveate.registry import Method, method, methods

STEPS = 100  # of the share of visual tokens


@dataclass(frozen=True)
class Share:
    """A method at a share of the visual tokens.

    Attributes:
        share: mean over the LLM's layers.
        reduction: the method with the knobs that bring it there.
    """

    share: float
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
    """One method at the largest share of the visual tokens that fits the budget.

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
    shares = _shares(found, request.llm.layers)
    if reason := Limits.of_config(config).refusal(shares[-1].reduction):
        raise UnsupportedError(reason)
    chosen = first_that_fits(shares, costs)
    why = f"the largest share of visual tokens at which {name} fits, mean over layers: "
    why += f"{chosen.share:.0%}"
    return Plan(chosen.reduction, why, chosen.cost(request), costs.unreduced[0], method=name)


def plannable(model: Any) -> list[str]:
    """Names of the methods that `plan_method` takes and the model does not refuse, sorted."""
    config = config_of(model)
    limits = Limits.of_config(config)
    return [name for name, row in methods().items() if _is_plannable(row, limits)]


def _is_plannable(row: Method, limits: Limits) -> bool:
    reached = next(_reached(row, limits.layout.depth), None)
    return reached is not None and not limits.refusal(reached.reduction)


def _shares(found: Method, layers: int) -> list[Share]:
    """A method at all shares that it reaches, the costliest first."""
    reached = list(_reached(found, layers))
    if not reached:
        at_share(found, 1 / 2, layers)  # says why
        raise InputError(f"{found.name} reaches no share of the visual tokens of {layers} layers")
    return reached


def _reached(found: Method, layers: int) -> Iterator[Share]:
    for step in range(STEPS, 0, -1):
        try:
            yield Share(step / STEPS, at_share(found, step / STEPS, layers))
        except InputError:  # most methods inside the LLM reach some shares only
            continue
