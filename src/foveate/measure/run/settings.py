"""What is measured: a method at a budget, made for a model's depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foveate.errors import FoveateError, InputError
from foveate.keep import check_keep
from foveate.measure.records import UNREDUCED
from foveate.measure.run.picture import Smaller
from foveate.reduction import Reduction, at_share
from foveate.registry import Method, method, methods


@dataclass(frozen=True)
class Setting:
    """One method at one budget.

    Attributes:
        method: its name, "unreduced" for none.
        budget: mean share of visual tokens over the LLM's layers that was asked for.
        reduction: the method with its knobs, None if it cannot be had at this budget.
        paper: where the method is from.
        refused: why there is no reduction.
        smaller: what is done to the pictures before the model sees them, if anything.
    """

    method: str
    budget: float
    reduction: Reduction | None
    paper: str = ""
    refused: str | None = None
    smaller: Smaller | None = None

    @property
    def key(self) -> tuple[str, float]:
        """Method and budget, which tell settings apart."""
        return self.method, self.budget

    def record(self) -> dict[str, Any]:
        """Its line among the records."""
        knobs = None if self.reduction is None else repr(self.smaller or self.reduction)
        return {
            "kind": "setting",
            "method": self.method,
            "budget": self.budget,
            "paper": self.paper,
            "knobs": knobs,
        }


RESIZE = "resize"  # of the pictures; no method of the registry, which see only tensors
UNREDUCED_SETTING = Setting(UNREDUCED, 1.0, Reduction())


def settings(names: Sequence[str], budgets: Sequence[float | int], layers: int) -> list[Setting]:
    """Every method at every budget, after the unreduced model, which all are compared with.

    Args:
        names: of `foveate.methods()`, "resize" for smaller pictures, or "all".
        budgets: shares of visual tokens, in (0, 1).
        layers: depth of the LLM.

    Raises:
        InputError: an unknown method, or a budget that is no share below 1.
    """
    for budget in budgets:
        check_keep(budget)
        if budget == 1:
            raise InputError("a budget of 1.0 is unreduced, which is always measured; leave it out")
    known = methods()
    chosen = [*known, RESIZE] if "all" in names else list(dict.fromkeys(names))
    return [
        UNREDUCED_SETTING,
        *(
            resized(float(budget))
            if name == RESIZE
            else at_budget(method(name), float(budget), layers)
            for name in chosen
            for budget in budgets
        ),
    ]


def resized(budget: float) -> Setting:
    """Smaller pictures, of which the unreduced model makes fewer tokens."""
    return Setting(RESIZE, budget, Reduction(), "baseline", smaller=Smaller(budget))


def at_budget(found: Method, budget: float, layers: int) -> Setting:
    """A method with the knobs that bring it to a budget, or why it cannot be had there."""
    try:
        return Setting(found.name, budget, at_share(found, budget, layers), found.paper)
    except FoveateError as error:
        return Setting(found.name, budget, None, found.paper, str(error))
