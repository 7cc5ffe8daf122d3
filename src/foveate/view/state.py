"""What the page is set to, and the link that sets it so again."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from foveate.ask.examples import FOLDER
from foveate.errors import InputError
from foveate.planner.budget import WITH_ENCODER

PLANNER = "planner"  # in a method's place: whatever the planner chooses
PANES = 4  # most methods beside each other
UNITS = {  # what a budget is called in a link, on the page, and how `Budget.of` reads it
    "flops": ("share of all FLOPs, %", f"{{:g}}% {WITH_ENCODER}"),
    "ms": ("milliseconds to the first token", "{:g} ms"),
    "tokens": ("visual tokens a layer", "{:g} tokens"),
}


@dataclass(frozen=True)
class State:
    """What the page is set to.

    Attributes:
        model: that is asked.
        example: a file of the built-in demo; "" for a picture that was dropped, which no link holds.
        question: in words.
        methods: one for each pane, 1 to 4; "planner" for what the planner chooses.
        unit: of the budget, one of `UNITS`.
        budget: in that unit.
        layer: behind which one looks.

    Raises:
        InputError: no such example or unit, or too few or too many methods.
    """

    model: str = "foveate-mini"
    example: str = "reasoning-0.png"
    question: str = "what colour is the 0?"
    methods: tuple[str, ...] = (PLANNER, "fastv")
    unit: str = "flops"
    budget: int | float = 60
    layer: int = 0

    def __post_init__(self) -> None:
        for name, given, allowed in (
            ("example", self.example, ("", *examples())),
            ("unit", self.unit, tuple(UNITS)),
        ):
            if given not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {given!r}")
        if not 1 <= len(self.methods) <= PANES:
            raise InputError(f"1 to {PANES} methods are shown, got {len(self.methods)}")
        if self.layer < 0:
            raise InputError(f"layer must be at least 0, got {self.layer}")

    @property
    def budget_text(self) -> str:
        """The budget as `Budget.of` and `vlm.ask` take it."""
        return UNITS[self.unit][1].format(self.budget)

    @property
    def query(self) -> str:
        """The part of a link behind its question mark."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return urlencode(values | {"methods": ",".join(self.methods), "budget": f"{self.budget:g}"})

    @classmethod
    def of(cls, query: Mapping[str, str], model: str) -> "State":
        """The state that a link asks for; what it does not name is as it is at first.

        Args:
            query: names and values; names that are not of a state are left alone.
            model: that is asked here.

        Raises:
            InputError: a value that is none, or a link of another model.
        """
        given: dict[str, Any] = {
            part.name: query[part.name] for part in fields(cls) if part.name in query
        }
        if given.setdefault("model", model) != model:
            raise InputError(
                f"the link is of {given['model']!r}, and {model!r} is asked here: foveate view "
                f"{given['model']}"
            )
        if "methods" in given:
            given["methods"] = tuple(name for name in given["methods"].split(",") if name)
        for name, kind in (("budget", float), ("layer", int)):
            if name in given:
                given[name] = _number(name, given[name], kind)
        return cls(**given)


def examples() -> list[str]:
    """Names of the pictures and clips of the built-in demo."""
    kinds = (".png", ".webp")
    return sorted(file.name for file in FOLDER.iterdir() if file.suffix in kinds)


def _number(name: str, text: str, kind: type[float] | type[int]) -> float | int:
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name} must be a number, got {text!r}") from None
