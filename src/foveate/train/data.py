"""Conversations about pictures, in LLaVA's JSON, checked row by row before anything is trained.

Each turn of a conversation becomes an example: the earlier turns are its history, and the question that a
compressor sees is the turn's own.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from foveate.ask.media import read_picture
from foveate.errors import InputError
from foveate.pictures import parts

TOKEN = "<image>"
SHOWN = 20  # most problems listed in one message
SIDES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}


class BadRow(Exception):
    """What is wrong with one row."""


@dataclass(frozen=True)
class Example:
    """One question with its answer, the turns before it, and the pictures of all of them.

    Attributes:
        number: its place in the data.
        pictures: a function for each, which loads the picture.
        messages: chat messages up to the question, with pictures in their places.
        answer: the answer.
    """

    number: int
    pictures: tuple[Callable[[], Image.Image], ...]
    messages: tuple[Mapping[str, Any], ...]
    answer: str


@dataclass(frozen=True)
class Data:
    """Examples, and a hash of their source."""

    examples: list[Example]
    hash: str


def read_llava(path: Path, images: Path | None = None) -> Data:
    """Read and check a LLaVA JSON or JSONL file.

    Args:
        path: the file: rows with `conversations` (`from`: human or gpt; `value`), and `image`, a path or
            a list of them, where there are pictures.
        images: folder that their paths are relative to; default the file's own.

    Raises:
        InputError: not readable, or rows that cannot be trained on; the message names file and row.
    """
    folder = path.parent if images is None else images

    def pictures_of(row: Mapping[str, Any]) -> list[Callable[[], Image.Image]]:
        given = row.get("image") or []
        names = [given] if isinstance(given, str) else given
        return [_checked(folder / name) for name in names]

    rows = list(_rows(path))
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return Data(checked(str(path), rows, pictures_of), digest)


def checked(
    where: str,
    rows: Sequence[Any],
    pictures_of: Callable[[Mapping[str, Any]], list[Callable[[], Image.Image]]],
) -> list[Example]:
    """Examples of all rows.

    Raises:
        InputError: bad rows; the message lists the first of them.
    """
    examples: list[Example] = []
    problems = []
    for number, row in enumerate(rows):
        try:
            if not isinstance(row, Mapping):
                raise BadRow(f"must be an object, got {type(row).__name__}")
            for made in turns(row.get("conversations"), pictures_of(row)):
                examples.append(Example(len(examples), *made))
        except BadRow as problem:
            problems.append(f"{where} row {number}: {problem}")
    if problems or not examples:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError("\n".join(problems[:SHOWN]) + more or f"{where}: no rows")
    return examples


def turns(
    conversation: Any, pictures: list[Callable[[], Image.Image]]
) -> Iterator[tuple[tuple[Callable[[], Image.Image], ...], tuple[Mapping[str, Any], ...], str]]:
    """Pictures, messages and answer of each turn of a conversation.

    Raises:
        BadRow: it is not a conversation, or it has more or fewer image tokens than pictures.
    """
    if not isinstance(conversation, list) or len(conversation) < 2 or len(conversation) % 2:
        raise BadRow("conversations must be a list of questions and answers in turns")
    messages: list[Mapping[str, Any]] = []
    seen = 0
    for place, said in enumerate(conversation):
        side, text = said.get("from"), said.get("value")
        role = ("user", "assistant")[place % 2]
        if SIDES.get(side) != role or not isinstance(text, str) or not text.strip():
            wanted = "human" if role == "user" else "gpt"
            raise BadRow(f'turn {place} must be from "{wanted}" with some text, got {said}')
        if role == "assistant":
            yield tuple(pictures[:seen]), tuple(messages), text.strip()
            messages.append({"role": role, "content": [{"type": "text", "text": text.strip()}]})
            continue
        count = text.count(TOKEN)
        seen += count
        if seen > len(pictures):
            raise BadRow(f"{seen} {TOKEN} tokens for {len(pictures)} images")
        asked = text.replace(TOKEN, "").strip()
        if not asked:
            raise BadRow(f"turn {place} asks nothing beside {TOKEN}")
        content = [{"type": "image"}] * count + [{"type": "text", "text": asked}]
        messages.append({"role": role, "content": content})
    if seen != len(pictures):
        raise BadRow(f"{seen} {TOKEN} tokens for {len(pictures)} images")


def _rows(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    lines = path.suffix == ".jsonl"
    for number, part in enumerate(filter(str.strip, text.splitlines()) if lines else [text]):
        try:
            made = json.loads(part)
        except json.JSONDecodeError as error:
            where = f"{path} row {number}" if lines else f"{path} line {error.lineno}"
            raise InputError(f"{where}: not JSON: {error.msg}") from None
        if lines:
            yield made
        elif isinstance(made, list):
            yield from made
        else:
            raise InputError(f"{path}: must be a list of rows, got {type(made).__name__}")


def _checked(path: Path) -> Callable[[], Image.Image]:
    try:
        with Image.open(path) as picture:
            count = len(parts(picture))
    except FileNotFoundError:
        raise BadRow(f"image {path} does not exist") from None
    except Exception as error:  # any kind: each format has a parser of its own
        raise BadRow(f"image {path} cannot be read: {error}") from None
    if count > 1:
        raise BadRow(f"image {path} holds {count} frames or pages; one is needed")
    return partial(read_picture, path)
