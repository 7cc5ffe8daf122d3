"""Which rows of a batch are left, layer by layer; this needs no vLLM."""

from fractions import Fraction

import pytest
import torch

import foveate
from foveate.errors import UnsupportedError
from foveate.prune.fastv import FastV
from foveate.runtime.rows import top_rows
from foveate.serving.vllm.inside.step import Attended, Request, Step

HALF = Fraction(1, 2)


def attended(rows, seed=0):
    torch.manual_seed(seed)
    return Attended(torch.randn(rows, 4, 8), torch.randn(rows, 2, 8), 0.3)


def batch():
    """A prompt with 6 visual tokens of 10 rows, a step of another request, a prompt of text."""
    visual = torch.zeros(15, dtype=torch.bool)
    visual[2:8] = True
    requests = [
        Request(count=10, held=10, to_llm=6, is_prompt=True, dropped=[]),
        Request(count=1, held=30, to_llm=0, is_prompt=False, dropped=[0, 5, 9]),
        Request(count=4, held=4, to_llm=0, is_prompt=True, dropped=[]),
    ]
    return Step(requests, visual)


def test_a_layer_holds_what_was_not_dropped_before_it():
    step, pruner = batch(), FastV()
    assert step.enter(0) == [(10, 10), (1, 30), (4, 4)]
    assert len(step.prune(pruner, HALF, attended(15))) == 12
    assert step.enter(1) == [(7, 7), (1, 25), (4, 4)]
    assert len(step.prune(pruner, Fraction(0), attended(12))) == 9
    assert step.enter(2) == [(4, 4), (1, 21), (4, 4)]
    assert step.rows.tolist() == [0, 1, 8, 9, 10, 11, 12, 13, 14]
    assert [request.dropped for request in step.requests] == [[0, 3, 6], [0, 5, 9], [0, 0, 0]]


@pytest.mark.parametrize("name", ["aim-prune", "fastv", "sparsevlm", "dart"])
def test_each_request_is_rated_by_itself(name):
    step, pruner, seen = batch(), foveate.create(name).inside, attended(15)
    visual = step.visual[:10]
    needed = {"visual": visual[None]} if pruner.needs else {}
    query, key = (each[:10].transpose(0, 1)[None] for each in seen[:2])
    score = pruner.score(query, key, None, 0.3, **needed)
    best = top_rows(score, visual[None], [3])[0]
    step.enter(0)
    step.prune(pruner, HALF, seen)
    assert step.rows.tolist() == [*(best | ~visual).nonzero()[:, 0].tolist(), *range(10, 15)]


def test_where_nothing_is_dropped_nothing_is_rated():
    class Unasked(FastV):
        def score(self, *args, **kwargs):
            raise AssertionError("nothing is to be rated")

    step, seen = batch(), attended(15)
    step.enter(0)
    assert step.prune(Unasked(), Fraction(1), seen) is None
    assert step.rows.tolist() == list(range(15))
    assert len(step.prune(Unasked(), Fraction(0), seen)) == 9  # nor where all are


def test_a_prompt_that_was_read_in_parts_is_refused():
    visual = torch.ones(4, dtype=torch.bool)
    with pytest.raises(UnsupportedError, match="read a prompt in parts"):
        Step([Request(count=4, held=9, to_llm=4, is_prompt=False, dropped=[0])], visual)
