"""What prompts cost under a setting, in the unit of a budget, and which setting fits and pays."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from foveate.cost.hardware import Machine
from foveate.cost.hardware import hardware as machine_named
from foveate.cost.request import Request, RequestCost
from foveate.errors import BudgetError, InputError
from foveate.planner.budget import Budget
from foveate.reduction import Reduction, typed


@runtime_checkable
class Candidate(Protocol):
    """A setting that may be chosen: a step of an order, one that was measured, one of a method."""

    @property
    def reduction(self) -> Reduction: ...
    def cost(self, request: Request) -> RequestCost: ...


C = TypeVar("C", bound=Candidate)


class Costs:
    """What prompts cost, in the unit of a budget.

    Attributes:
        encoder: whether the budget counts what encoding takes, which is known.

    Args:
        requests: the prompts.
        budget: of each.
        machine: that times are of, or its name.
        itemsize: bytes of a number in the KV cache.

    Raises:
        InputError: the budget counts what encoding takes, and that is not known.
    """

    def __init__(
        self, requests: Sequence[Request], budget: Budget, machine: Machine | str, itemsize: int
    ) -> None:
        self.requests, self.budget, self.itemsize = requests, budget, itemsize
        self.machine = machine_named(machine) if isinstance(machine, str) else machine
        known = all(request.encoded is not None for request in requests)
        if budget.encoder and not known:
            raise InputError(
                "a budget with encoder needs media= (pictures or frames and their size): of counted "
                "tokens alone it is not known what encoding takes"
            )
        self.encoder = budget.counts_encoder and known
        self.unreduced = [request.cost() for request in requests]

    def costliest(self, costs: Sequence[RequestCost]) -> tuple[float, int]:
        """What the costliest of the prompts takes, and which it is."""
        spent = [
            self.budget.spent(cost, whole, self.machine, self.itemsize)
            for cost, whole in zip(costs, self.unreduced, strict=True)
        ]
        return max(zip(spent, range(len(spent)), strict=True))

    def each(self, row: Candidate) -> list[RequestCost]:
        """What each prompt takes under a setting."""
        return [row.cost(request) for request in self.requests]

    def of(self, row: Candidate) -> float:
        """What the costliest prompt takes under a setting."""
        return self.costliest(self.each(row))[0]

    def pays(self, row: Candidate) -> bool:
        """Whether no prompt waits longer for its first token than unreduced, where time counts."""
        return self.budget.kind in ("kv_bytes", "tokens") or not self.slower(self.each(row))

    def slower(self, costs: Sequence[RequestCost]) -> bool:
        """Whether any prompt waits longer for its first token than unreduced."""
        return any(
            cost.first_token_ms(self.machine) > whole.first_token_ms(self.machine)
            for cost, whole in zip(costs, self.unreduced, strict=True)
        )

    def refuse(self, cheapest: Reduction, cost: float) -> BudgetError:
        """The error where nothing fits."""
        text = self.budget.text
        return BudgetError(
            f"no plan fits {text(self.budget.value)}; the cheapest is {typed(cheapest)} at {text(cost)}"
        )

    def refuse_slower(self, cheapest: Reduction) -> BudgetError:
        """The error where what fits does not pay."""
        costs = [
            request.cost(reduction) for reduction in (cheapest, None) for request in self.requests
        ]
        now, before = (
            max(cost.first_token_ms(self.machine) for cost in part)
            for part in (costs[: len(self.requests)], costs[len(self.requests) :])
        )
        return BudgetError(
            f"no plan that fits {self.budget.text(self.budget.value)} pays on {self.machine.name}: "
            f"{typed(cheapest)} takes {now:.4g} ms to the first token, unreduced {before:.4g} ms"
        )


def first_that_fits(steps: Sequence[C], costs: Costs) -> C:
    """The first step from where the budget is met on that is not slower than no reduction.

    Args:
        steps: the costliest first.
        costs: in the budget.

    Raises:
        BudgetError: none fits, or none that fits pays.
    """
    met = steps[_first_met(steps, costs) :]
    for step in met:
        if costs.of(step) <= costs.budget.value and costs.pays(step):
            return step
    raise costs.refuse_slower(met[0].reduction)


def _first_met(steps: Sequence[Candidate], costs: Costs) -> int:
    """By bisection: each step is cheaper than the one before, unless scoring outweighs few tokens."""
    low, high = 0, len(steps) - 1
    if costs.of(steps[low]) <= costs.budget.value:
        return low
    if costs.of(steps[high]) > costs.budget.value:
        return _any_met(steps, costs)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if costs.of(steps[middle]) <= costs.budget.value else (middle, high)
        )
    return high


def _any_met(steps: Sequence[Candidate], costs: Costs) -> int:
    """The first step that fits, where few tokens make scoring dearer than what it saves."""
    each = [costs.of(step) for step in steps]
    for place, cost in enumerate(each):
        if cost <= costs.budget.value:
            return place
    least = min(each)
    raise costs.refuse(steps[each.index(least)].reduction, least)
