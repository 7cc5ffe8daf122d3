import json
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foveate
from foveate import Reduction
from foveate.combine.aim import PAPER
from foveate.compress.base import KeepShare
from foveate.errors import InputError
from foveate.knobs import Count, Range, annotations, check_of
from foveate.reduction import is_written, read_reduction
from foveate.registry import _TABLE, Method, register

METHODS = foveate.methods()
CLASSES = {row.build.__name__: row.build for row in METHODS.values()} | {"Reduction": Reduction}


def values(annotation: Any) -> st.SearchStrategy:
    """Values that a knob annotated so may have."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        ranges = [mark for mark in arguments[1:] if isinstance(mark, Range)]
        drawn = numbers(arguments[0], *ranges) if ranges else values(arguments[0])
        return drawn.filter(lambda value: allowed(annotation, value))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return reduce(or_, map(values, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if annotation in (int, float):
        return numbers(annotation, Range())
    return {bool: st.booleans(), str: st.text(), NoneType: st.none()}[annotation]


def numbers(base: Any, within: Range) -> st.SearchStrategy:
    """Integers and floats, most of them between the ends of a range and of the size of a layer."""
    low, high = max(within.least, within.above, -100), min(within.most, within.below, 100)
    whole = st.integers(int(low), int(high)) | st.integers(0, 40)
    real = st.floats(low, high) | st.floats(0, 1)
    return {int: whole, float: real}.get(base, whole | real)


def allowed(annotation: Any, value: Any) -> bool:
    try:
        check_of(annotation)(value, "knob")
    except InputError:
        return False
    return True


def made(method: Method) -> st.SearchStrategy:
    knobs = {name: values(kind) for name, kind in annotations(method.build).items()}
    return st.fixed_dictionaries({}, optional=knobs).map(lambda given: build(method, given))


def build(method: Method, knobs: dict[str, Any]) -> Any:
    """The method, or with its defaults if some knobs do not go together."""
    try:
        return method.build(**knobs)
    except InputError:
        return method.build()


def of_stage(stage: str) -> st.SearchStrategy:
    return st.one_of(*(made(row) for row in METHODS.values() if row.stage == stage))


REDUCTIONS = of_stage("both") | st.builds(
    Reduction, before=st.none() | of_stage("before"), inside=st.none() | of_stage("inside")
)
OFTEN = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=60
)


def alike(first: Any, second: Any) -> bool:
    """Equal, and of the same types all the way down."""
    parts = [first, second]
    if isinstance(first, tuple):
        same = len(first) == len(second) and all(map(alike, first, second))
    elif hasattr(first, "__dataclass_fields__"):
        names = first.__dataclass_fields__
        same = all(alike(*(getattr(part, name) for part in parts)) for name in names)
    else:
        same = True
    return type(first) is type(second) and first == second and same


def check_round_trip(reduction: Reduction) -> None:
    row = reduction.to_dict()
    assert json.loads(json.dumps(row, allow_nan=False)) == row == json.loads(reduction.to_json())
    assert alike(Reduction.from_dict(row), reduction)
    assert alike(Reduction.from_json(reduction.to_json()), reduction)
    assert alike(eval(repr(reduction), CLASSES), reduction)


@pytest.mark.parametrize("name", METHODS)
@OFTEN
@given(st.data())
def test_every_method_comes_back_as_it_was(name, untyped, data):
    method = METHODS[name]
    given = data.draw(made(method))
    reduction = given if method.stage == "both" else Reduction(**{method.stage: given})
    check_round_trip(reduction)
    row = reduction.to_dict()
    alone = row if method.stage == "both" else row[method.stage]
    assert list(alone) == ["method", *annotations(method.build)]
    assert alike(Reduction.from_dict(alone), reduction)


@OFTEN
@given(REDUCTIONS)
def test_every_combination_comes_back_as_it_was(untyped, reduction):
    check_round_trip(reduction)


@pytest.mark.parametrize("name", PAPER)
def test_published_settings_come_back_as_they_were(name):
    check_round_trip(foveate.AIM.paper(name))


def test_the_format():
    assert Reduction().to_dict() == {"before": None, "inside": None}
    assert foveate.AIM(0.5, (4, 0.9)).to_dict() == {
        "method": "aim",
        "keep": 0.5,
        "prune": [4, 0.9],
        "order": "raster",
        "weighted": False,
    }
    both = Reduction(before=foveate.DivPrune(0.5), inside=foveate.VTW(3))
    assert both.to_dict() == {
        "before": {"method": "divprune", "keep": 0.5},
        "inside": {"method": "vtw", "after": 3},
    }
    three = both.encoded_by(foveate.ToMeEncoder(0.4))
    assert three.to_dict() == {
        "encode": {"method": "tome-encoder", "keep": 0.4, "step": 0.12, "layer": 0},
        **both.to_dict(),
    }
    assert Reduction.from_dict(three.to_dict()) == three


def test_what_is_left_out_is_the_methods_own():
    for name in METHODS:
        assert Reduction.from_dict({"method": name}) == foveate.create(name)
    fastv = Reduction.from_dict({"inside": {"method": "fastv", "after": [3]}})
    assert fastv == Reduction(inside=foveate.FastV((3,)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r'a reduction is written {"method": "aim", .*null in each place; got {}'),
        (5, "a reduction is written .*; got 5"),
        ([], "a reduction is written"),
        (None, "a reduction is written .*; got None"),
        ({"befor": None}, "a reduction is written .*; got .'befor': None"),
        ({"before": None, "keep": 1}, "a reduction is written"),
        ({"method": "aimm"}, "unknown method 'aimm'; known methods: aim, .*vtw"),
        ({"method": ["aim"]}, r"unknown method \['aim'\]; known methods: aim"),
        ({"method": "aim", "kepp": 1}, "'kepp'; its knobs: keep, prune, order, weighted$"),
        ({"method": "aim", 1: 1}, "its knobs: keep, prune, order, weighted$"),
        ({"method": "divprune", "inside": None}, "'inside'; its knobs: keep$"),
        ({"method": "aim", "keep": 2}, r"keep must be a share in \(0, 1\], got 2"),
        ({"method": "aim", "keep": "0.5"}, r"keep must be a share in \(0, 1\], got '0.5'"),
        ({"before": {"method": "fastv"}}, r"before takes .*\(aim-merge, .*\), got 'fastv', which"),
        ({"inside": {"method": "divprune"}}, r"inside takes .*\(aim-prune, .*\), got 'divprune', which"),
        ({"inside": {"method": "aim"}}, "got 'aim', which works both: write it alone"),
        ({"before": {"keep": 1}}, "before is written .* or null, got {'keep': 1}"),
        ({"before": "divprune"}, "before is written .* or null, got 'divprune'"),
        ({"before": {"method": "divprune", "seed": 1}}, "'seed'; its knobs: keep$"),
    ],
)  # fmt: skip
def test_what_no_reduction_is_written_as_is_refused(row, message, untyped):
    with pytest.raises(InputError, match=message):
        Reduction.from_dict(row)


@pytest.mark.parametrize(
    "text",
    ["", "aim", "{", '{"method": "aim"} x', "null", "[1]", "NaN", None, 3, "[" * 100_000, b"\xff"],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_json_of_a_reduction_is_refused(text, untyped):
    with pytest.raises(InputError, match=r'a reduction is written .*{"method": "aim"'):
        Reduction.from_json(text)


def test_infinities_are_no_knobs():
    with pytest.raises(InputError, match="keep must be a share"):
        Reduction.from_json('{"method": "aim", "keep": NaN}')
    with pytest.raises(InputError, match="alike must be a finite number, got inf"):
        Reduction.from_json('{"method": "fastvid", "alike": Infinity}')


def test_a_reduction_is_read_from_text_or_a_file(tmp_path):
    aim, file = foveate.AIM(0.5, (4, 6)), tmp_path / "aim.json"
    file.write_text(aim.to_json())
    for text in (aim.to_json(), f"\n {aim.to_json()}", str(file)):
        assert is_written(text)
        assert read_reduction(text) == aim
    assert not is_written("aim")
    missing, folder = tmp_path / "no.json", tmp_path / "folder.json"
    folder.mkdir()
    for bad in (missing, folder):
        with pytest.raises(InputError, match=f"cannot read a reduction from {bad}: .*{bad}"):
            read_reduction(str(bad))
    for content, message in (
        ('{"method": "aimm"}', "unknown method"),
        ("aim", "is written as JSON"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=f"cannot read a reduction from {file}: .*{message}"):
            read_reduction(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"cannot read a reduction from .*aim.json: 'utf-8'"):
        read_reduction(str(file))


@dataclass(frozen=True)
class Mine(KeepShare):
    """A method that somebody writes."""

    places: tuple[Count, ...] = (1,)

    def __call__(self, features):
        raise NotImplementedError

    def flops(self, tokens, width):
        return 0


def test_only_registered_methods_are_written(monkeypatch):
    monkeypatch.setattr("foveate.registry._TABLE", dict(_TABLE))
    with pytest.raises(
        InputError, match=r"got Mine\(.*: put @foveate.register\(NAME, .*class Mine$"
    ):
        Reduction(before=Mine()).to_dict()
    other = type("Other", (foveate.AIM,), {})()
    with pytest.raises(
        InputError, match=r"put @foveate.register\(NAME, stage=...\) on the class Other"
    ):
        other.to_json()
    register("mine", stage="before")(Mine)
    check = Reduction(before=Mine(0.5, (2, 3)))
    assert check.to_dict()["before"] == {"method": "mine", "keep": 0.5, "places": [2, 3]}
    assert alike(Reduction.from_dict(check.to_dict()), check)


def test_what_json_cannot_say_is_not_written(monkeypatch):
    monkeypatch.setattr("foveate.registry._TABLE", dict(_TABLE))

    class Plain(Mine):
        """A class with its own way to be made."""

    @dataclass(frozen=True)
    class Odd:
        """A method with a knob that is no number, text or choice."""

        knob: Any = object
        needs, at, is_off = (), "llm", False
        __call__ = flops = print

    register("odd", stage="before")(Odd)
    with pytest.raises(InputError, match="cannot be written down: Object of type type is not JSON"):
        Reduction(before=Odd()).to_dict()
    with pytest.raises(InputError, match="cannot be written down: Out of range float"):
        Reduction(before=Odd(float("inf"))).to_dict()

    class Bare:
        """A method that is no dataclass."""

        needs, at, is_off = (), "llm", False
        __call__ = flops = print

    register("bare", stage="before")(Bare)
    with pytest.raises(InputError, match="only a dataclass can be written down, got"):
        Reduction(before=Bare()).to_dict()
