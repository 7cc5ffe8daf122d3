"""The sample of a cross product leaves out no value of a list, and no pair that there is room for."""

from itertools import combinations, product

import pytest

from sampled import sample

SHAPES = [(19, 4, 2), (4, 19, 2), (13, 3), (2, 13, 16), (16, 19), (7, 7, 7), (5,)]


@pytest.mark.parametrize("lengths", SHAPES)
def test_every_value_stays(lengths):
    cases = [dict(enumerate(case)) for case in product(*map(range, lengths))]
    stays = [case for case, kept in zip(cases, sample(cases), strict=True) if kept]
    assert len(stays) == max(lengths)
    for name, length in enumerate(lengths):
        assert {case[name] for case in stays} == set(range(length))
    for a, b in combinations(range(len(lengths)), 2):
        if lengths[a] * lengths[b] <= max(lengths):
            assert len({(case[a], case[b]) for case in stays}) == lengths[a] * lengths[b]


def test_a_case_that_is_asked_for_by_name_stays():
    assert sample([{"name": "llava", "padding": "right"}]) == [True]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["a", "b", "c"])
@pytest.mark.sampled
def test_what_is_left_out_is_slow(family, attention, request):
    """Run whole, with -m "slow or not slow", the marks are what differs."""
    stays = (family, attention) in {("a", "sdpa"), ("b", "eager"), ("c", "sdpa")}
    assert stays == (request.node.get_closest_marker("slow") is None)
