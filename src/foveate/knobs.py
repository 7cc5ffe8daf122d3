"""Knobs: the annotation of a method's field says which values are allowed, and `Checked` checks them.

A method writes `keep: Keep`, `contextual: Share`, `steps: Count`, `metric: Literal["features", "keys"]`,
`weighted: bool`, `damping: Annotated[float, Range(least=0, below=1)]`, `after: tuple[int, ...]`, any of
them with `| None`. Any other rule is a function beside the type: `Annotated[tuple[int, int], check]`,
where `check(value, name)` raises.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache, partial
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foveate.errors import InputError

Check = Callable[
    [Any, str], object
]  # (value, name of the knob): raises InputError, or lets it pass
_PLAIN = frozenset({bool, int, float, str, NoneType})


@dataclass(frozen=True)
class Range:
    """The numbers that a knob takes: finite ones between two ends; whole ones if the type is `int`.

    Attributes:
        least: lower end, itself allowed.
        above: lower end, itself not allowed.
        most: upper end, itself allowed.
        below: upper end, itself not allowed.
        noun: what the number is called in messages: "a share".
        note: text that messages add.
    """

    least: int | float = -math.inf
    above: int | float = -math.inf
    most: int | float = math.inf
    below: int | float = math.inf
    noun: str = ""
    note: str = ""

    def __contains__(self, number: int | float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        """`in (0, 1]`, `at least 1`, or nothing."""
        low, high = max(self.least, self.above), min(self.most, self.below)
        if math.isfinite(low) and math.isfinite(high):
            opened, closed = "(" if self.above == low else "[", ")" if self.below == high else "]"
            return f"in {opened}{low:g}, {high:g}{closed}"
        if math.isfinite(low):
            return f"above {low:g}" if self.above == low else f"at least {low:g}"
        if math.isfinite(high):
            return f"below {high:g}" if self.below == high else f"at most {high:g}"
        return ""


Keep = Annotated[int | float, Range(above=0, most=1, noun="a share", note="; 1.0 is off")]
Share = Annotated[int | float, Range(least=0, most=1, noun="a share")]
Count = Annotated[int, Range(least=1)]


class Checked:
    """Base of dataclasses whose fields are knobs, which are checked when an instance is made.

    Values are stored as plain Python: tuples for lists, Python's numbers for numpy's.

    Raises:
        InputError: a value that the knob's annotation does not allow.
    """

    def __post_init__(self) -> None:
        for name, default, check in _checks(type(self)):
            given = getattr(self, name)
            if given is default:  # a default is checked once, with the class
                continue
            value = plain(given)
            check(value, name)
            if value is not given:
                object.__setattr__(self, name, value)


def plain(value: Any) -> Any:
    """A value as knobs store it: tuples for lists, Python's numbers for numpy's and torch's."""
    kind = type(value)
    if kind in _PLAIN or (kind is tuple and all(type(part) in _PLAIN for part in value)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(plain(part) for part in value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def annotations(knobs: type) -> dict[str, Any]:
    """The annotation of each knob of a dataclass, by name: of the fields that its constructor takes."""
    hints = get_type_hints(knobs, include_extras=True)
    return {field.name: hints[field.name] for field in fields(knobs) if field.init}


@cache
def _checks(knobs: type) -> tuple[tuple[str, Any, Check], ...]:
    """Name, default and check of each knob."""
    defaults, found = {field.name: field.default for field in fields(knobs)}, []
    for name, annotation in annotations(knobs).items():
        default, check = defaults[name], check_of(annotation)
        if default is not MISSING:
            check(default, name)
        found.append((name, default, check))
    return tuple(found)


@cache
def check_of(annotation: Any) -> Check:
    """The check that an annotation stands for; it takes values as `plain` makes them.

    Raises:
        TypeError: an annotation that knobs cannot have; the message lists those that they can.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(*arguments)
    if origin is Literal:
        return partial(_choice, arguments)
    if origin in (Union, UnionType):
        return _union(arguments)
    if origin is tuple:
        return partial(_tuple, arguments)
    if annotation in (int, float):
        return partial(_number, Range(), annotation is int)
    if annotation in (bool, str, NoneType):
        return partial(_kind, annotation)
    raise TypeError(
        f"no knob can be annotated {annotation!r}: bool, str, int, float, Literal, tuples, unions and "
        "Annotated types as in foveate.knobs can"
    )


def _annotated(base: Any, *marks: Any) -> Check:
    if mark := next((mark for mark in marks if isinstance(mark, Range)), None):
        return partial(_number, mark, base is int)
    return next((mark for mark in marks if callable(mark)), None) or check_of(base)


def _number(range_: Range, whole: bool, value: Any, name: str) -> None:  # noqa: FBT001
    kind = type(value)
    fits = kind is int or (kind is float and not whole)
    is_finite = fits and abs(value) <= sys.float_info.max  # whole numbers may be beyond
    if fits and value in range_ and (whole or is_finite):
        return
    noun = range_.noun
    if not noun and not is_finite:
        noun = "a whole number" if whole else "a finite number"
    words = f"{noun} {range_}".strip().replace("number at", "number of at")
    raise InputError(f"{name} must be {words}, got {value!r}{range_.note}")


def _choice(allowed: tuple[Any, ...], value: Any, name: str) -> None:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise InputError(f"{name} must be one of {allowed}, got {value!r}")


def _kind(kind: type, value: Any, name: str) -> None:
    if type(value) is not kind:
        words = {bool: "True or False", str: "a text"}.get(kind, "None")
        raise InputError(f"{name} must be {words}, got {value!r}")


def _tuple(parts: tuple[Any, ...], value: Any, name: str) -> None:
    open_ended = parts[1:] == (...,)
    if type(value) is not tuple or not (open_ended or len(value) == len(parts)):
        words = "a tuple" if open_ended else f"a tuple of {len(parts)}"
        raise InputError(f"{name} must be {words}, got {value!r}")
    for part, one in zip(parts[:1] * len(value) if open_ended else parts, value, strict=True):
        check_of(part)(one, name)


def _union(options: tuple[Any, ...]) -> Check:
    if set(options) == {int, float}:
        return check_of(float)
    checks = [check_of(one) for one in options if one is not NoneType]
    return partial(_any, checks, len(checks) < len(options))


def _any(checks: list[Check], none: bool, value: Any, name: str) -> None:  # noqa: FBT001
    if none and value is None:
        return
    refused = []
    for check in checks:
        try:
            check(value, name)
        except InputError as error:
            refused.append(str(error))
        else:
            return
    raise InputError("; or ".join([*refused, "None"] if none else refused))
