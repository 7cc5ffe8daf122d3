"""Rows of a table, answered: whatever is wrong with one becomes its error, and the others go on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from foveate.ask.media import Clip
from foveate.ask.vlm import VLM
from foveate.errors import InputError
from foveate.measure.run.answering import answer, shape
from foveate.reduction import Reduction
from foveate.report import SampleReport
from foveate.serving.batch.settings import Settings
from foveate.serving.batch.table import QUESTION

Row = dict[str, Any] | InputError
SHAPES = 4


@dataclass(frozen=True)
class Answered:
    """What a table's row gains; all but one of `answer` and `error` may be None.

    Attributes:
        answer: the answer.
        error: why there is none, in one sentence.
        visual_tokens: of the prompt.
        visual_tokens_kept: mean over the LLM's layers of those that each computes.
        kept_share: the second as a share of the first.
        flops_share: FLOPs of the LLM's prefill as a share of unreduced, with scoring of a batch's
            padding; reading the question for a learned compressor is left out, since it is done once for
            all rows that ask the same.
        kv_share: bytes of the KV cache as a share of unreduced.
    """

    answer: str | None = None
    error: str | None = None
    visual_tokens: int | None = None
    visual_tokens_kept: float | None = None
    kept_share: float | None = None
    flops_share: float | None = None
    kv_share: float | None = None

    @classmethod
    def of(cls, text: str, sample: SampleReport) -> "Answered":
        """An answer, and what the report says of its prefill."""
        by_layer, whole = sample.visual_tokens_by_layer, sample.visual_tokens_in
        kept = sum(by_layer) / len(by_layer)
        flops = sample.prefill_flops - sample.question_flops
        unreduced = sample.prefill_flops_unreduced - sample.question_flops
        return cls(
            answer=text,
            visual_tokens=whole,
            visual_tokens_kept=kept,
            kept_share=kept / whole if whole else None,
            flops_share=flops / unreduced,
            kv_share=sample.kv_bytes / sample.kv_bytes_unreduced,
        )

    @classmethod
    def failed(cls, error: Exception) -> "Answered":
        """A row that has no answer."""
        words = " ".join(str(error).split())
        if not isinstance(error, InputError):
            words = f"{type(error).__name__}: {words}"
        return cls(error=words)


@dataclass(frozen=True)
class Prompt:
    """A row as `vlm.ask` takes it.

    Attributes:
        media: pictures and clips.
        question: in words.
    """

    media: list[Any]
    question: str


def prompt_of(row: dict[str, Any], folder: Path) -> Prompt:
    """The prompt in a row: its `image`, then its `images`, then its `video`, and its `question`.

    Args:
        row: a row of the table.
        folder: what relative paths start from.

    Raises:
        InputError: no picture or clip, or no question.
    """
    question, several = row[QUESTION], row.get("images")
    if not isinstance(question, str | None):
        raise InputError(f"the question must be text, got {type(question).__name__}")
    if question is None or not question.strip():
        raise InputError("the question is empty")
    if not isinstance(several, list | None):
        raise InputError(f"images must be a list of pictures, got {type(several).__name__}")
    given = [row.get("image"), *(several or []), row.get("video")]
    media = [_source(value, folder) for value in given if value is not None]
    if not media:
        raise InputError("the row shows nothing: its pictures and clips are null")
    return Prompt(media, question)


def _source(value: Any, folder: Path) -> Any:
    """A path, a file's bytes, or whatever else stands there, which is refused when it is read."""
    if isinstance(value, dict):
        if not {"bytes", "path"} & value.keys():
            raise InputError(f"a picture needs the field bytes or path, got {', '.join(value)}")
        contents = value.get("bytes")
        value = value.get("path") if contents is None else contents
        if value is None:
            raise InputError("the picture has neither bytes nor a path: both are null")
    return folder / value if isinstance(value, str) and "\0" not in value else value


def answer_rows(vlm: VLM, rows: Iterable[Row], settings: Settings, folder: Path) -> list[Answered]:
    """Answer rows, some at a time, each as if it had been asked alone.

    Args:
        vlm: the model.
        rows: of the table, or why one cannot be asked.
        settings: how they are asked.
        folder: what relative paths start from.

    Returns:
        One for each row, in their order.
    """
    found: dict[int, Answered] = {}
    prompts = _prompts(rows, folder, found)
    for numbers, alike in _batches(vlm, prompts, settings, found):
        found |= zip(numbers, _asked(vlm, alike, settings), strict=True)
    return [found[number] for number in range(len(found))]


def _prompts(
    rows: Iterable[Row], folder: Path, found: dict[int, Answered]
) -> Iterator[tuple[int, Prompt]]:
    """The rows that are prompts, with their numbers; the others are noted."""
    for number, row in enumerate(rows):
        try:
            if isinstance(row, InputError):
                raise row
            prompt = prompt_of(row, folder)
        except InputError as error:
            found[number] = Answered.failed(error)
        else:
            yield number, prompt


Shown = tuple[list[Image.Image | Clip], str]  # pictures as they are shown, and the question


def _batches(
    vlm: VLM,
    prompts: Iterable[tuple[int, Prompt]],
    settings: Settings,
    found: dict[int, Answered],
) -> Iterator[tuple[list[int], list[Shown]]]:
    """Prompts of one shape, some at a time; those whose pictures cannot be read are noted.

    No more pictures than those of `SHAPES` full batches are in memory, however many shapes there are.
    """
    waiting: dict[tuple, tuple[list[int], list[Shown]]] = {}
    for number, prompt in prompts:
        try:
            pictures = vlm.pictures(prompt.media, settings.frames, settings.fps)
        except Exception as error:  # any kind: a row never ends the run
            found[number] = Answered.failed(error)
            continue
        key = shape(tuple(pictures))
        numbers, alike = waiting.setdefault(key, ([], []))
        numbers.append(number)
        alike.append((pictures, prompt.question))
        if len(alike) == settings.at_once:
            yield waiting.pop(key)
        elif sum(len(rows) for rows, _ in waiting.values()) == SHAPES * settings.at_once:
            yield waiting.pop(next(iter(waiting)))  # the first that came
    yield from waiting.values()


def _asked(vlm: VLM, shown: Sequence[Shown], settings: Settings) -> list[Answered]:
    """Answers to prompts of one shape: all at once, or each alone if that fails."""
    try:
        if len(shown) == 1:
            return [_alone(vlm, *shown[0], settings)]
        reduction = settings.reduction or Reduction()
        texts, _, report = answer(vlm, vlm.batch(shown), reduction, settings.max_new_tokens)
        return list(map(Answered.of, texts, report.samples))
    except torch.AcceleratorError:  # the GPU answers nothing any more: not this row's fault
        raise
    except Exception as error:  # any kind: a row never ends the run
        failed = Answered.failed(error)
    if len(shown) == 1:
        return [failed]
    return [row for one in shown for row in _asked(vlm, [one], settings)]


def _alone(
    vlm: VLM, pictures: list[Image.Image | Clip], question: str, settings: Settings
) -> Answered:
    lengths = [len(picture.frames) for picture in pictures if isinstance(picture, Clip)]
    asked = vlm.ask(
        pictures, question, settings.reduction, settings.budget, settings.max_new_tokens,
        frames=max(lengths, default=None),  # all that were taken
        task=settings.task, machine=settings.machine,
    )  # fmt: skip
    return Answered.of(asked.text, asked.report.samples[0])
