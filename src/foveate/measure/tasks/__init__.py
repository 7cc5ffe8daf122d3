"""Tasks: what a model is asked and how answers are scored. A task is one module that registers itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from foveate.errors import InputError
from foveate.registry import discover


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        media: pictures and clips, or their paths.
        question: in words.
        answers: any of them is right.
        kind: what kind of question it is, "" where a task has one kind.
    """

    media: tuple[Any, ...]
    question: str
    answers: tuple[str, ...]
    kind: str = ""


class Task(ABC):
    """Questions by number, so that a run can stop anywhere and resume.

    Attributes:
        name: as records and tables call it.
        size: how many questions there are, None if they are endless.
        answer_tokens: longest answer.
        reads_files: whether media are paths; the sampling of clips is then part of the questions'
            identity.
    """

    name: str
    size: int | None = None
    answer_tokens: ClassVar[int] = 32
    reads_files: ClassVar[bool] = True

    @abstractmethod
    def item(self, index: int) -> Item:
        """Question `index`, the same every time."""

    def score(self, item: Item, said: str) -> float:
        """Score of an answer, 0 to 1; by default whether it equals one of the item's answers."""
        return float(said in item.answers)

    def identity(self) -> dict[str, Any]:
        """What a record must hold so that the same questions can be asked again."""
        return {"name": self.name}


_TABLE: dict[str, Callable[[], Task]] = {}
_FILES: dict[str, Callable[[Path], Task]] = {}


def register_task(name: str, make: Callable[[], Task]) -> None:
    """Enter a task into the table under its name.

    Raises:
        InputError: the name is taken.
    """
    if name in _TABLE:
        raise InputError(f"a task named {name!r} is already registered")
    _TABLE[name] = make


def register_file_task(suffix: str, make: Callable[[Path], Task]) -> None:
    """Enter a reader of a user's own files of that suffix (".jsonl").

    Raises:
        InputError: the suffix is taken.
    """
    if suffix in _FILES:
        raise InputError(f"a reader of {suffix} files is already registered")
    _FILES[suffix] = make


def tasks() -> list[str]:
    """Names of the tasks that need no file."""
    discover(__name__)
    return sorted(_TABLE)


def task(spec: str) -> Task:
    """A task by name, or the questions of a file.

    Raises:
        InputError: neither; the message lists the names and the kinds of file.
    """
    known = tasks()
    if spec in _TABLE:
        return _TABLE[spec]()
    path = Path(spec)
    if path.suffix in _FILES and path.is_file():
        return _FILES[path.suffix](path)
    raise InputError(
        f"unknown task {spec!r}; known: {', '.join(known)}, or an existing {' or '.join(_FILES)} file"
    )
