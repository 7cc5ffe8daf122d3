"""One table of methods: name -> class, stage, paper, role. A module registers its own method."""

import ast
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from foveate.errors import InputError
from foveate.knobs import plain

PACKAGES = (
    "foveate.encode",
    "foveate.compress",
    "foveate.prune",
    "foveate.combine",
)  # where methods are
STAGES = ("encode", "before", "inside", "both")
METHOD, BASELINE = ROLES = ("method", "baseline")
T = TypeVar("T")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: what `foveate.create` and the command line call it.
        stage: "encode" for the vision encoder, "before" the LLM, "inside" it, or "both".
        build: makes the method from its knobs.
        paper: its source, as an arXiv number, or who made it; "" for none.
        role: "method", or "baseline": a plain method that every verdict of a report compares with.
    """

    name: str
    stage: str
    build: Callable[..., Any]
    paper: str = ""
    role: str = METHOD

    @property
    def summary(self) -> str:
        """First line of the method's docstring."""
        return (self.build.__doc__ or "").strip().splitlines()[0]

    @property
    def source(self) -> str:
        """Its source in words: "arXiv 2412.03248", "foveate", "baseline"."""
        return f"arXiv {self.paper}" if self.paper[:1].isdigit() else self.paper or self.role

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of its constructor's arguments."""
        if not is_dataclass(self.build):
            return ()
        return tuple(field.name for field in fields(self.build) if field.init)

    def make(self, knobs: Mapping[str, Any]) -> Any:
        """The method with these knobs, and all others at their defaults.

        Args:
            knobs: values by name; lists are taken for tuples.

        Raises:
            InputError: an unknown knob, or a value out of range.
        """
        try:
            return self.build(**{name: plain(value) for name, value in knobs.items()})
        except TypeError as error:
            raise InputError(
                f"{self.name} cannot take {dict(knobs)}: {error}; its knobs: {', '.join(self.knobs)}"
            ) from None


_TABLE: dict[str, Method] = {}


def register(
    name: str, *, stage: str, paper: str = "", role: str = METHOD
) -> Callable[[type[T]], type[T]]:
    """Class decorator that enters a method into the table; the arguments are those of `Method`.

    Raises:
        InputError: the name is taken, or the stage or role unknown.
    """
    for word, given, allowed in (("stage", stage, STAGES), ("role", role, ROLES)):
        if given not in allowed:
            raise InputError(f"a method's {word} must be one of {allowed}, got {given!r}")

    def enter(cls: type[T]) -> type[T]:
        if name in _TABLE and _TABLE[name].build.__qualname__ != cls.__qualname__:
            raise InputError(f"a method named {name!r} is already registered")
        _TABLE[name] = Method(name, stage, cls, paper, role)
        return cls

    return enter


@cache
def discover(*packages: str) -> None:
    """Import every module of the packages, so that each registers itself; done once."""
    for package in packages:
        found = importlib.import_module(package)
        for module in pkgutil.iter_modules(found.__path__, f"{package}."):
            importlib.import_module(module.name)


@cache
def decorated(decorator: str, *packages: str) -> dict[str, str]:
    """The module of every class under a decorator in some packages, by class name, sorted.

    The modules' source text is searched: none of them is imported.
    """
    found = {}
    for package in packages:
        for file in files(package).iterdir():
            if file.name.endswith(".py"):
                module = f"{package}.{file.name.removesuffix('.py')}"
                tree = ast.parse(file.read_text(encoding="utf-8"))
                found |= dict.fromkeys(_classes_under(decorator, tree), module)
    return dict(sorted(found.items()))


def _classes_under(decorator: str, tree: ast.Module) -> list[str]:
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(
            getattr(getattr(mark, "func", mark), "id", "") == decorator
            for mark in node.decorator_list
        )
    ]


def method_classes() -> dict[str, str]:
    """The module of each method's class, by its name; without importing torch."""
    return decorated(register.__name__, *PACKAGES)


def methods() -> dict[str, Method]:
    """All methods by name, sorted."""
    discover(*PACKAGES)
    return dict(sorted(_TABLE.items()))


def method(name: object) -> Method:
    """The method of that name.

    Raises:
        InputError: no such method; the message lists the known ones.
    """
    table = methods()
    if not isinstance(name, str) or name not in table:
        raise InputError(f"unknown method {name!r}; known methods: {', '.join(table)}")
    return table[name]


def written(given: object) -> dict[str, Any]:
    """A method as `json` can write it: `{"method": "divprune", "keep": 0.5}`, with all of its knobs.

    Raises:
        InputError: a method that is not registered, or a knob whose value JSON cannot hold.
    """
    row = next((row for row in _TABLE.values() if row.build is type(given)), None)
    if row is None:
        raise InputError(
            f"only a registered method can be written down, got {given!r}: put "
            f"@foveate.register(NAME, stage=...) on the class {type(given).__name__}"
        )
    if not is_dataclass(given):
        raise InputError(f"only a dataclass can be written down, got {given!r}")
    knobs = {name: _listed(plain(getattr(given, name))) for name in row.knobs}
    try:
        json.dumps(knobs, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{given!r} cannot be written down: {error}") from None
    return {"method": row.name, **knobs}


def _listed(value: Any) -> Any:
    return [_listed(part) for part in value] if isinstance(value, tuple) else value
