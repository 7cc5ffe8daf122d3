"""Sources of training data: a LLaVA file, a Hugging Face dataset, or scenes made here."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveate.ask.media import read_picture
from foveate.errors import InputError, MissingExtraError
from foveate.scenes import DRAWN, TASKS, one_question, scene
from foveate.train.data import Data, Example, checked, read_llava


def read(data: str, images: Path | None = None) -> Data:
    """Examples of a source, checked.

    Args:
        data: "hf:NAME_OR_FOLDER", "scenes:TASKS:COUNT" with tasks joined by "+", or a file.
        images: folder of a file's images.

    Raises:
        InputError: a source or rows that cannot be used.
        MissingExtraError: Hugging Face datasets are not installed.
    """
    kind, _, rest = data.partition(":")
    if kind == "hf":
        return read_dataset(rest)
    if kind == "scenes":
        return read_scenes(rest)
    return read_llava(Path(data), images)


def read_dataset(name: str) -> Data:
    """A dataset's "train" split, or a folder that `save_to_disk` wrote.

    Rows have `conversations` as LLaVA's files, or `question` and `answer`; pictures are in `image` or
    `images`.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("a Hugging Face dataset", "train") from None
    try:
        found: Any = (
            datasets.load_from_disk(name)
            if Path(name).exists()
            else datasets.load_dataset(name, split="train")
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load the dataset {name!r}: {error}") from None
    if isinstance(found, Mapping):
        found = found["train"]
    kept = [column for column in found.column_names if column not in ("image", "images")]
    rows = []
    for number, row in enumerate(found.select_columns(kept)):
        count = _pictures(found, number)
        rows.append({**_conversation(row, count), "number": number, "pictures": count})

    def pictures_of(row: Mapping[str, Any]) -> list[Callable[[], Image.Image]]:
        return [partial(_picture, found, row["number"], n) for n in range(row["pictures"])]

    return Data(checked(f"hf:{name}", rows, pictures_of), str(found._fingerprint))


def _conversation(row: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    if "conversations" in row or "question" not in row:
        return {"conversations": row.get("conversations")}
    asked = "<image>" * pictures + "\n" + str(row["question"])
    return {
        "conversations": [
            {"from": "human", "value": asked},
            {"from": "gpt", "value": str(row.get("answer") or "")},
        ]
    }


def _cell(found: Any, number: int) -> list[Any]:
    row = found[number]
    given = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return list(given)


def _pictures(found: Any, number: int) -> int:
    if not {"image", "images"} & set(found.column_names):
        return 0
    cells = _cell(found, number)
    if not all(isinstance(cell, Image.Image) for cell in cells):
        raise InputError(f"row {number}: image must be a picture (datasets.Image), got {cells}")
    return len(cells)


def _picture(found: Any, number: int, place: int) -> Image.Image:
    return read_picture(_cell(found, number)[place])


def read_scenes(spec: str) -> Data:
    """Scenes of the training split, one question each: "reasoning+ocr:2000"."""
    tasks, _, count = spec.partition(":")
    names = tasks.split("+")
    known = [task for task in (*TASKS, *DRAWN) if task != "video"]
    if not set(names) <= set(known) or not count.isdigit() or not int(count):
        raise InputError(
            f"scenes are scenes:TASKS:COUNT with tasks of {', '.join(known)} joined by +, got {spec!r}"
        )
    examples = []
    for number in range(int(count)):
        task, index = names[number % len(names)], number // len(names)
        asked = one_question(scene(task, "train", index))
        content = [{"type": "image"}, {"type": "text", "text": asked.text}]
        message = {"role": "user", "content": content}
        load = partial(_scene, task, index)
        examples.append(Example(number, (load,), (message,), asked.answer))
    return Data(examples, hashlib.sha256(f"scenes:{spec}".encode()).hexdigest())


def _scene(task: str, index: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(scene(task, "train", index).frame(0)))
