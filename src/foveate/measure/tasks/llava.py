r"""A user's own questions: a JSON Lines or JSON file in LLaVA's format, or its plain form.

    {"image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat is this?"},
                                         {"from": "gpt", "value": "a cat"}]}
    {"image": ["a.png", "b.png"], "question": "Which is larger?", "answer": ["a", "the first"]}
    {"video": "clip.mp4", "question": "What moves?", "answer": "a ball", "kind": "motion"}

Paths are relative to the file. Of a conversation the first turn is asked. An answer is right if it is one
of those given, without regard to case, articles and surrounding punctuation.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from foveate.errors import InputError
from foveate.measure.tasks import Item, Task, register_file_task

PLACEHOLDER = re.compile(r"\s*<(?:image|video)>\s*")
ARTICLES = re.compile(r"\b(?:a|an|the)\b")
SIGNS = re.compile(r"[^\w\s]")


class LlavaFile(Task):
    """The questions of a `.jsonl` or `.json` file, in its order.

    Raises:
        InputError: not JSON, no questions, or a row without media, question or answer; it names the row.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, path
        text = path.read_text()
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        rows = _rows(path, text)
        if not rows:
            raise InputError(f"{path} holds no questions")
        self.items = [_item(row, path, number) for number, row in enumerate(rows, 1)]
        self.size = len(self.items)

    def item(self, index: int) -> Item:
        """Row `index`; its pictures are read later, when they are shown."""
        return self.items[index]

    def score(self, item: Item, said: str) -> float:
        """1 if the answer, as by `plain`, is one of the item's, else 0."""
        return float(plain(said) in {plain(answer) for answer in item.answers})

    def identity(self) -> dict[str, Any]:
        """File name and a hash of its contents."""
        return {"name": self.name, "file": self.path.name, "sha256": self.digest}


def plain(text: str) -> str:
    """Lower case, without articles, punctuation and extra space."""
    return " ".join(ARTICLES.sub(" ", SIGNS.sub(" ", text.casefold())).split())


def _rows(path: Path, text: str) -> list[Any]:
    try:
        if path.suffix == ".json":
            rows = json.loads(text)
            return rows if isinstance(rows, list) else [rows]
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from None


def _item(row: Any, path: Path, number: int) -> Item:
    where = f"row {number} of {path}"
    if not isinstance(row, dict):
        raise InputError(f"{where} must be an object, got {type(row).__name__}")
    media = [
        path.parent / name
        for key in ("image", "video")
        for name in ([row[key]] if isinstance(row.get(key), str) else row.get(key) or [])
    ]
    question, answer = row.get("question"), row.get("answer")
    turns = row.get("conversations")
    if turns:
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise InputError(
                f'{where}: conversations must be a list of {{"from": "human" or "gpt", "value": ...}}, '
                f"got {str(turns)[:80]}"
            )
        spoken = {turn.get("from"): turn.get("value") for turn in reversed(turns)}
        question, answer = spoken.get("human"), spoken.get("gpt")
    answers = tuple(map(str, answer)) if isinstance(answer, list) else (str(answer),)
    for what, missing in (
        ("image or video", not media),
        ("question", not question),
        ("answer", answer is None or not answers),
    ):
        if missing:
            raise InputError(f"{where} has no {what}; it has {', '.join(row)}")
    return Item(tuple(media), PLACEHOLDER.sub("", str(question)), answers, str(row.get("kind", "")))


for _suffix in (".jsonl", ".json"):
    register_file_task(_suffix, LlavaFile)
