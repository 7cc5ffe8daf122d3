"""How an engine is asked to prune inside the LLM; this needs no vLLM."""

from types import SimpleNamespace

import pytest

import foveate
from foveate.errors import InputError
from foveate.serving.vllm.budget import Switch, encoding_of, method_of, read
from foveate.serving.vllm.inside.setting import split

AIM = {"method": "aim", "keep": 0.25}
FASTV = {"method": "fastv", "after": [2], "keep": 0.5}
INSIDE = sorted(name for name, row in foveate.methods().items() if row.stage == "inside")


def switch(given):
    return Switch.of(SimpleNamespace(foveate=given))


def test_a_method_in_both_places_is_a_budget_and_a_method_inside():
    asked = switch({**AIM, "experimental": True})
    assert asked.is_on
    assert asked.inside == foveate.AIM(keep=0.25).inside
    assert method_of(asked.default) == foveate.AIM(keep=0.25).before
    both = {"before": {"method": "divprune", "keep": 0.5}, "inside": FASTV}
    asked = switch({**both, "experimental": True})
    assert asked.inside == foveate.FastV(after=(2,), keep=0.5)
    assert method_of(asked.default) == foveate.create("divprune", keep=0.5).before


def test_a_method_in_the_encoder_goes_along():
    asked = switch({"encode": {"method": "tome-encoder"}, "inside": FASTV, "experimental": True})
    assert asked.inside == foveate.FastV(after=(2,), keep=0.5)
    assert method_of(asked.default) is None
    assert encoding_of(asked.default) == foveate.create("tome-encoder").encode


@pytest.mark.parametrize("name", INSIDE)
def test_every_method_inside_the_llm_alone(name):
    asked = switch({"method": name, "experimental": True})
    assert asked == Switch(is_on=True, default="", inside=foveate.create(name).inside)


def test_without_the_switch_it_is_refused_and_the_switch_is_named():
    for given in (AIM, FASTV, {"before": None, "inside": FASTV}):
        with pytest.raises(
            InputError, match=r'inside the LLM.*--hf-overrides.*"experimental": true'
        ):
            switch(given)


@pytest.mark.parametrize("given", [{**AIM, "experimental": True}, {**FASTV, "experimental": False}])
def test_a_request_cannot_ask_for_it(given):
    with pytest.raises(InputError, match=r'"experimental" is of a whole engine.*not of a request'):
        read(given)


def test_the_switch_alone_means_nothing():
    for value in (False, "yes", 1, None):
        with pytest.raises(InputError, match='"experimental" is true or left out, got'):
            switch({**AIM, "experimental": value})
    for given in (
        {"method": "divprune", "keep": 0.5},
        {**AIM, "prune": None},
        {"method": "fastv", "keep": 1.0},
    ):
        with pytest.raises(InputError, match="is for a method inside the LLM, as"):
            switch({**given, "experimental": True})
    with pytest.raises(InputError, match="a reduction is written"):
        switch({"experimental": True})


def test_without_it_nothing_changes():
    for given in (None, {}, "x", {"method": "divprune"}):
        assert split(given) == (given, None)
