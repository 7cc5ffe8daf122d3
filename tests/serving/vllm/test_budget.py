"""What is asked for, as one text; this needs no vLLM."""

from types import SimpleNamespace

import pytest

import foveate
from foveate.errors import InputError
from foveate.serving.vllm import budget
from foveate.serving.vllm.budget import Switch, method_of, packed, read, unpacked

SERVED = {
    "aim-merge", "apet", "cdpruner", "divprune", "evs", "fovea-merge", "pool", "random", "resize-grid",
    "reuse", "stride", "tome-encoder", "vidcom2",
}  # fmt: skip


def test_one_budget_has_one_text_and_two_have_two():
    given = {"method": "aim-merge", "keep": 0.25}
    same = [
        {"keep": 0.25, "method": "aim-merge"},
        {**given, "weighted": False, "order": "raster"},
        {"before": given},
        {"before": given, "inside": None},
        {"method": "aim", "keep": 0.25, "prune": None},
        foveate.create("aim-merge", keep=0.25).to_dict(),
    ]
    texts = {read(one) for one in (given, *same)}
    assert len(texts) == 1
    assert method_of(texts.pop()) == foveate.create("aim-merge", keep=0.25).before
    others = [
        {**given, "keep": 0.26},
        {**given, "weighted": True},
        {"method": "divprune", "keep": 0.25},
    ]
    assert len({read(one) for one in (given, *others)}) == 4


@pytest.mark.parametrize(
    "given",
    [None, {"method": "divprune", "keep": 1.0}, {"method": "aim", "keep": 1, "prune": None}],
)
def test_nothing_asked_and_off_are_no_text(given):
    assert read(given) == ""


def test_a_text_travels_as_numbers():
    text = read({"method": "divprune", "keep": 0.1})
    assert unpacked(packed(text)) == text


def test_a_question_goes_along_and_leaves_the_method_as_it_is():
    text = read({"method": "cdpruner", "keep": 0.1})
    asked = budget.with_question(text, [5, 6])
    assert budget.question_of(asked) == [5, 6]
    assert budget.question_of(text) == []
    assert method_of(asked) == method_of(text)
    assert len({text, asked, budget.with_question(text, [5, 7])}) == 3


def test_a_method_in_the_encoder_is_part_of_the_text():
    merge, tome = {"method": "divprune", "keep": 0.5}, {"method": "tome-encoder", "keep": 0.5}
    texts = [read(each) for each in (merge, tome, {"encode": tome, "before": merge})]
    assert len(set(texts)) == 3
    methods, encodings = (
        [of(text) is not None for text in texts] for of in (method_of, budget.encoding_of)
    )
    assert methods == [True, False, True]
    assert encodings == [False, True, True]
    off = {"method": "tome-encoder", "keep": 1.0}
    assert read({"encode": off, "before": merge}) == texts[0]
    assert read(off) == ""
    assert not any(map(budget.needs_question, texts))


def test_what_can_be_served_is_known():
    assert set(budget.servable()) == SERVED


@pytest.mark.parametrize("name", sorted(foveate.methods()))
def test_every_method_is_served_or_refused_by_name(name):
    given = {"method": name}
    if name in SERVED:
        assert read(given)
        return
    with pytest.raises(InputError, match=f"cannot serve .*'{name}'.*works: aim-merge"):
        read(given)


@pytest.mark.parametrize(
    "given", ["x", "divprune", 0.25, True, [], {"keep": 0.5}, {"metod": "aim"}]
)
def test_what_is_no_method_is_refused(given):
    with pytest.raises(InputError, match="method"):
        read(given)


def test_an_engine_is_off_on_or_on_with_a_budget():
    text = read({"method": "divprune", "keep": 0.5})
    assert Switch.of(SimpleNamespace()) == Switch(is_on=False, default="")
    assert Switch.of(SimpleNamespace(foveate={})) == Switch(is_on=True, default="")
    on = Switch.of(SimpleNamespace(foveate={"method": "divprune", "keep": 0.5}))
    assert on == Switch(is_on=True, default=text)
    for given in ("x", 0.25, False, {"method": "fastv"}):
        with pytest.raises(InputError):
            Switch.of(SimpleNamespace(foveate=given))
