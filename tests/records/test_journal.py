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
    assert journal.path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_what_an_earlier_version_left_of_a_kill_is_skipped(tmp_path):
    journal = Journal(tmp_path / "run.jsonl")
    journal.path.write_text('{"a": 1}\n{"a": 2, "b"\n{"a": 3}\n')
    assert list(journal) == [{"a": 1}, {"a": 3}]
    journal.append({"a": 4})
    assert list(journal) == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_a_last_record_without_an_end_of_line_is_whole(tmp_path):
    journal = Journal(tmp_path / "run.jsonl")
    journal.path.write_text('{"a": 1}\r\n\n{"a": 2}')
    assert list(journal) == [{"a": 1}, {"a": 2}]
    journal.append({"a": 3})
    assert list(journal) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("buy milk\n", "line 1 must be a JSON object, got 'buy milk'"),
        ("buy milk", "line 1 must be a JSON object, got 'buy milk'"),
        ('{"a": 1', "line 1 must be a JSON object"),
        ('{"a": 1}\n\n[2]\n', r"line 3 must be a JSON object, got '\[2\]'"),
        ('{"a": 1}\n' + "[" * 100_000 + "\n", "line 2 must be a JSON object"),
    ],
    ids=range(5),
)
def test_what_is_no_journal_is_refused(tmp_path, text, message):
    journal = Journal(tmp_path / "notes.txt")
    journal.path.write_text(text)
    with pytest.raises(InputError, match=f"notes.txt is not a file of records: {message}"):
        list(journal)
    if not text.endswith("\n"):
        with pytest.raises(InputError, match=r"notes\.txt is not a file of records"):
            journal.append({"a": 3})
    assert journal.path.read_text() == text


def test_a_file_of_bytes_is_no_journal(tmp_path):
    (tmp_path / "x.bin").write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(InputError, match=r"cannot read records from .*x\.bin: 'utf-8' codec"):
        list(Journal(tmp_path / "x.bin"))


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
