"""`benchmarks/scoring.py`: methods keep what they keep in fp32, and its record says what was measured."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import scoring
from foveate.prune import products
from foveate.scenes import TASKS

RECORD = Path(__file__).parents[2] / "results" / "scoring.json"


@pytest.mark.parametrize("task", TASKS)
def test_methods_keep_what_they_keep_in_fp32(task, monkeypatch):
    monkeypatch.setattr(products, "has_fast_bf16", lambda: True)
    products.precision_on.cache_clear()
    found = scoring.agreement(task, 3)
    products.precision_on.cache_clear()
    assert set(found) == set(scoring.METHODS)
    assert min(found.values()) >= 0.99, found
    assert min(found.values()) < 1, "bf16 that rounds nothing was not bf16"


def test_a_difference_is_counted():
    class First:
        needs = ()

        def score(self, query, key, valid, scaling):
            rows = torch.arange(query.shape[2], dtype=torch.float32)[None]
            return rows if query.dtype == torch.float32 else -rows

    compared = scoring.Compared({"first": First()})
    query = torch.randn(1, 2, 8, 4).bfloat16()
    compared.score(query, query, None, None, torch.ones(1, 8, dtype=torch.bool))
    # of 6, 5, 4, 2 and 1 of 8 tokens: the last against the first
    assert (compared.same["first"], compared.all["first"]) == (4 + 2 + 0 + 0 + 0, 6 + 5 + 4 + 2 + 1)


def test_the_record_agrees():
    record = json.loads(RECORD.read_text())
    assert min(min(row.values()) for row in record["agreement"].values()) >= 0.99
    half = {row["reduction"]: row for row in record["times"] if row["half"]}
    assert half["aim"]["share"]["score"] <= 0.04
    assert all(row["share"]["product"] < row["share"]["score"] for row in record["times"])
