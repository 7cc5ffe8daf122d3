import pytest

from foveate.errors import InputError
from foveate.records.conditions import conditions, installed
from foveate.records.intervals import paired_difference
from foveate.records.journal import Journal


def test_a_journal_survives_a_kill(tmp_path):
    journal = Journal(tmp_path / "deep" / "run.jsonl")
    assert list(journal) == []
    journal.append({"a": 1})
    with journal.path.open("a") as file:
        file.write('{"a": 2, "b"')  # killed while writing
    journal.append({"a": 3})
    assert list(journal) == [{"a": 1}, {"a": 3}]


def test_conditions_say_what_is_missing():
    where = conditions(gpu=None)
    assert where["gpu"] is None
    assert where["torch"]
    assert installed("no-such-package") is None


def test_paired_difference():
    base = [1, 0, 1, 1] * 50
    same = paired_difference(base, base)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    worse = paired_difference(base, [0] * 200)
    assert worse.mean == -0.75
    assert worse.low < -0.75 < worse.high < 0
    with pytest.raises(InputError, match="equally many"):
        paired_difference([1], [1, 0])
