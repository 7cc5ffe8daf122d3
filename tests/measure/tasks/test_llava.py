import json

import pytest

from foveate.errors import InputError
from foveate.measure.tasks import Task, register_file_task, register_task, task
from foveate.measure.tasks.llava import plain

TURNS = [
    {"from": "human", "value": "<image>\nWhat is this?"},
    {"from": "gpt", "value": "A cat."},
    {"from": "human", "value": "And its colour?"},
    {"from": "gpt", "value": "grey"},
]
ROWS = [
    {"image": "a.png", "conversations": TURNS},
    {"image": ["a.png", "b.png"], "question": "Which?", "answer": ["the first", 1]},
    {"video": "c.mp4", "question": "What moves?", "answer": "a ball", "kind": "motion"},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_both_forms_are_read(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_text(json.dumps(ROWS) if suffix == ".json" else "\n".join(map(json.dumps, ROWS)))
    mine = task(str(path))
    assert (mine.name, mine.size) == ("mine", 3)
    first, second, third = (mine.item(index) for index in range(3))
    assert (first.media, first.question) == ((tmp_path / "a.png",), "What is this?")
    assert second.media == (tmp_path / "a.png", tmp_path / "b.png")
    assert (third.media, third.kind) == ((tmp_path / "c.mp4",), "motion")
    assert [mine.score(first, said) for said in ("cat", "The cat!", "a dog", "")] == [1, 1, 0, 0]
    assert [mine.score(second, said) for said in ("1", "First", "2")] == [1, 1, 0]
    identity = mine.identity()
    path.write_text(path.read_text().replace("grey", "gray"))
    assert task(str(path)).identity() != identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no questions"),
        ("{", "not valid JSONL"),
        ("[1]", "row 1 of .* must be an object, got list"),
        (
            json.dumps(ROWS[2]) + '\n{"image": "a.png", "question": "?"}',
            "row 2 of .* has no answer",
        ),
        ('{"question": "?", "answer": "x"}', "has no image or video; it has question, answer"),
        ('{"image": "a.png", "answer": "x"}', "has no question"),
        ('{"image": "a.png", "conversations": ["x"]}', r"row 1 of .* list of .*got \['x'\]"),
        ('{"image": "a.png", "conversations": {"from": "x"}}', "conversations must be a list of"),
        ('{"image": "a.png", "question": "?", "answer": []}', "has no answer"),
    ],
)
def test_what_is_missing_is_told_with_its_row(tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        task(str(path))


def test_plain_words():
    assert plain("  The Answer, is:  A  cat! ") == "answer is cat"
    assert plain("theatre") == "theatre"


def test_names_are_taken_once():
    with pytest.raises(InputError, match="'ocr' is already registered"):
        register_task("ocr", Task)
    with pytest.raises(InputError, match=r"\.jsonl files is already registered"):
        register_file_task(".jsonl", Task)
