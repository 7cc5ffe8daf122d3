from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest

import foveate
from foveate.compress.base import KeepShare
from foveate.errors import InputError
from foveate.knobs import Checked, Count, Keep, Range, Share, annotations, check_of
from foveate.prune.schedule import Place, Places, Window

REFUSED = [
    (Keep, [0, -1, 1.5, float("nan"), float("inf"), True, "half", None],
     "{} must be a share in (0, 1], got {!r}; 1.0 is off"),
    (Share, [-0.1, 2, float("nan"), False, None], "{} must be a share in [0, 1], got {!r}"),
    (Count, [0, -3], "{} must be at least 1, got {!r}"),
    (Count, [1.0, True, "2", float("nan")], "{} must be a whole number of at least 1, got {!r}"),
    (int, [1.5, True, None], "{} must be a whole number, got {!r}"),
    (float, [float("nan"), float("-inf"), 10**400, True, "x"], "{} must be a finite number, got {!r}"),
    (int | float, [float("nan"), True, None], "{} must be a finite number, got {!r}"),
    (Annotated[float, Range(above=0)], [0.0, -1], "{} must be above 0, got {!r}"),
    (Annotated[float, Range(above=0)], ["x"], "{} must be a finite number above 0, got {!r}"),
    (Annotated[float, Range(least=0, most=9)], [10**400],
     "{} must be a finite number in [0, 9], got {!r}"),
    (Annotated[float, Range(least=0, below=1)], [1.0, -0.5], "{} must be in [0, 1), got {!r}"),
    (Annotated[float, Range(below=1)], [1], "{} must be below 1, got {!r}"),
    (Annotated[int, Range(most=4)], [5], "{} must be at most 4, got {!r}"),
    (bool, [1, None, "yes"], "{} must be True or False, got {!r}"),
    (str, [1, None], "{} must be a text, got {!r}"),
    (Literal["a", 1], ["b", True, 1.0, None], "{} must be one of ('a', 1), got {!r}"),
    (Literal["a"] | None, ["b"], "{} must be one of ('a',), got {!r}; or None"),
    (Count | Literal["all"], [0],
     "{0} must be at least 1, got {1!r}; or {0} must be one of ('all',), got {1!r}"),
    (tuple[Count, ...], [3, "ab"], "{} must be a tuple, got {!r}"),
    (tuple[int, int], [(1,), (1, 2, 3), None], "{} must be a tuple of 2, got {!r}"),
    (Window, [5, (1,), (1, 2, 3), None], "{} must be a pair (start, stop), got {!r}"),
    (Window, [(4, 2), (0.5, 0.5)], "{} must start before it stops, got {!r}"),
    (Window | None, [5], "{} must be a pair (start, stop), got {!r}; or None"),
    (Places, [(), (0,), (1.5,), (0.0,), (True,), 3, None],
     "{0} takes counts of layers (int, at least 1) or shares of depth (float, in (0, 1)) as a tuple, "
     "{0}=(2,), got {1!r}"),
    (Place, [0, 1.5, True, (2,), None],
     "{} takes one count of layers (int, at least 1) or share of depth (float, in (0, 1)), got {!r}"),
]  # fmt: skip
TAKEN = [
    (Keep, [1, 1.0, 1e-12]),
    (Share, [0, 1, 0.5]),
    (Count, [1, 10**30, 10**400]),
    (float, [-3, 0.5]),
    (Literal["a", 1], ["a", 1]),
    (Count | Literal["all"] | None, [3, "all", None]),
    (tuple[Count, ...], [(), (1, 2)]),
    (tuple[int, str], [(1, "x")]),
    (Window, [(0, 1), (0.5, 0.786), (0.5, 3), (3, 0.1)]),
    (Place, [1, 0.5]),
    (Places, [(1, 0.5), (3, 2)]),
    (Annotated[int, "what it means"], [-1]),
]


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [(kind, value, message) for kind, values, message in REFUSED for value in values],
)
def test_what_an_annotation_forbids_is_refused(annotation, value, message, untyped):
    with pytest.raises(InputError) as refused:
        check_of(annotation)(value, "knob")
    assert str(refused.value) == message.format("knob", value)


@pytest.mark.parametrize(
    ("annotation", "value"), [(kind, value) for kind, values in TAKEN for value in values]
)
def test_what_an_annotation_allows_is_taken(annotation, value):
    check_of(annotation)(value, "knob")


def test_parts_of_a_tuple_are_checked_too(untyped):
    with pytest.raises(InputError, match="knob must be at least 1, got 0"):
        check_of(tuple[Count, ...])((1, 0), "knob")
    with pytest.raises(InputError, match="knob must be a text, got 2"):
        check_of(tuple[int, str])((1, 2), "knob")


@pytest.mark.parametrize("annotation", [list[int], dict, np.ndarray, Annotated[set, "x"]])
def test_no_other_annotation_is_a_knobs(annotation):
    with pytest.raises(TypeError, match=r"no knob can be annotated .*Literal"):
        check_of(annotation)


def even(value, name):
    if value % 2:
        raise InputError(f"{name} must be even, got {value}")


@dataclass(frozen=True)
class New(KeepShare):
    """A method before the LLM that is written by annotations alone."""

    steps: Count = 3
    metric: Literal["features", "keys"] = "features"
    window: Window | None = None
    pairs: Annotated[int, even] = 2


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"keep": 0}, r"keep must be a share in \(0, 1\], got 0; 1.0 is off"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"metric": "key"}, r"metric must be one of \('features', 'keys'\), got 'key'"),
        ({"window": (3, 2)}, r"window must start before it stops, got \(3, 2\); or None"),
        ({"pairs": 3}, "pairs must be even, got 3"),
    ],
)
def test_a_new_method_is_checked_by_its_annotations_alone(knobs, message, untyped):
    with pytest.raises(InputError, match=message):
        New(**knobs)


def test_knobs_are_kept_plain(untyped):
    made = New(np.float32(0.5), np.int64(4), window=[np.int32(1), np.float64(0.5)])
    assert made == New(0.5, 4, window=(1, 0.5))
    kinds = [type(value) for value in (made.keep, made.steps, made.window, *made.window)]
    assert kinds == [float, int, tuple, int, float]
    assert type(New(1).keep) is int
    assert hash(made)


def test_a_default_must_be_allowed_too():
    @dataclass(frozen=True)
    class Wrong(Checked):
        steps: Count = 0

    for knobs in ({}, {"steps": 1}):
        with pytest.raises(InputError, match="steps must be at least 1, got 0"):
            Wrong(**knobs)


@pytest.mark.parametrize("name", foveate.methods())
def test_every_method_checks_every_knob(name, untyped):
    build = foveate.methods()[name].build
    assert issubclass(build, Checked)
    for knob in annotations(build):
        with pytest.raises(InputError, match=f"{knob} (must|takes)"):
            build(**{knob: object()})
        with pytest.raises(InputError, match=f"{knob} (must|takes)"):
            build(**{knob: float("nan")})
