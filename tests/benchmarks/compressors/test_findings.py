"""What docs/concepts/compressors.md says about the comparison, held against its record."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLIND = ("average-pool", "tokenpacker", "m3", "mqt", "quecc, no question")  # to the question


@pytest.fixture(scope="module")
def record():
    return json.loads((ROOT / "results" / "compressors.json").read_text())


@pytest.fixture(scope="module")
def share(record):
    """Mean share of right answers of a rival at a count of tokens."""
    rows = {(row["rival"], row["tokens"]): row for row in record["rows"]}
    return lambda rival, tokens, kind: rows[rival, tokens][kind]["mean"]


def difference(record, to, tokens, kind="lookups"):
    (row,) = (
        row
        for row in record["differences"]
        if (row["of"], row["to"], row["tokens"]) == ("quecc", to, tokens)
    )
    return row[kind]


@pytest.mark.parametrize("rival", ["average-pool", "tokenpacker"])
def test_at_one_token_the_question_decides(record, rival):
    assert difference(record, rival, 1)["low"] > 0.2


def test_without_its_question_quecc_is_one_of_the_others(share):
    assert share("quecc", 1, "lookups") > 0.95
    assert all(share(rival, 1, "lookups") < 0.75 for rival in BLIND)


def test_at_four_tokens_it_no_longer_does(record, share):
    assert abs(difference(record, "average-pool", 4)["mean"]) < 0.03
    assert share("average-pool", 4, "lookups") > 0.95


def test_embeddings_tell_more_than_the_hidden_state(share):
    assert share("quecc", 1, "lookups") > share("quecc, llm", 1, "lookups") + 0.05


def test_reading_needs_tokens(record):
    few = [row["ocr"]["mean"] for row in record["rows"] if row["tokens"] <= 4 and row["ocr"]]
    assert few
    assert max(few) < 0.1


def test_at_36_tokens_several_layers_read_more_than_pooling(record, share):
    assert difference(record, "average-pool", 36, "ocr")["low"] > 0.1
    for rival, about in (("quecc", 1 / 2), ("tokenpacker", 1 / 2), ("average-pool", 1 / 3)):
        assert share(rival, 36, "ocr") == pytest.approx(about, abs=0.05)


def test_the_question_does_not_help_to_read(record):
    for tokens in (4, 16, 36):
        found = difference(record, "tokenpacker", tokens, "ocr")
        assert found["low"] < 0 < found["high"]


def test_the_rivals_have_three_seeds(record):
    seeds = {(row["rival"], row["tokens"]): row["seeds"] for row in record["rows"]}
    for rival in ("quecc", "tokenpacker", "average-pool", "m3", "mqt"):
        for tokens in (36, 16, 4, 1):
            assert seeds[rival, tokens] == [0, 1, 2]
