"""`foveate.load` and `vlm.ask`: a model, its processor, and one call from picture to answer."""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from io import IOBase
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from foveate.apply import check_of_budget, reduce
from foveate.ask.chat import chat_tensors, chat_text
from foveate.ask.many import generate_from, shared_tokens
from foveate.ask.media import Clip, Sampling, is_one, looked_at, media_of_all, read
from foveate.ask.stream import Stream
from foveate.cost.hardware import Machine
from foveate.defaults import MACHINE, MAX_NEW_TOKENS, TASK
from foveate.errors import FoveateError, InputError
from foveate.models.family import Family, family_of, family_of_config
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.planner.reduction import plan_reduction
from foveate.reduction import Given, Reduction, as_reduction
from foveate.report import Report

LOG = logging.getLogger(__name__)
ASSETS = Path(__file__).parent.parent / "assets"
MINI = "foveate-mini"  # the trained model that comes with the package

Source = (
    str
    | PathLike
    | bytes
    | bytearray
    | memoryview
    | IOBase
    | Image.Image
    | Clip
    | np.ndarray
    | torch.Tensor
)  # what `media.read` takes


@dataclass(frozen=True)
class Answer:
    """The answer, and the report of what it cost.

    Attributes:
        text: the answer.
        report: of the prefill, also if nothing was reduced.
    """

    text: str
    report: Report

    def __repr__(self) -> str:
        return f"Answer({self.text!r}, {self.report.summary})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        return f"<p>{escape(self.text)}</p>{self.report._repr_html_()}"

    def plot(self, media: Source | None = None) -> Any:
        """A figure of matplotlib: the answer above what its report draws.

        Args:
            media: the picture that was asked about, to show it beside; of a clip its first frame.

        Raises:
            InputError: media that cannot be read.
            MissingExtraError: matplotlib is not installed.
        """
        picture = None if media is None else looked_at([read(media)])[0]
        return self.report.plot(picture, title=self.text)


@dataclass(frozen=True)
class VLM:
    """A vision-language model ready to be asked.

    Attributes:
        model: the stock transformers model.
        processor: its processor.
        family: its model family.
    """

    model: Any
    processor: Any
    family: Family

    def ask(
        self,
        media: Source | Sequence[Source],
        question: str,
        reduction: Given | None = None,
        budget: Budget | int | float | str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        frames: int | None = None,
        fps: int | float | None = None,
        task: Task | Literal["auto"] = TASK,
        machine: Machine | str | None = None,
    ) -> Answer:
        """Answer a question about a picture, several pictures, or a clip, greedily.

        Args:
            media: a path, a file's bytes, a PIL image, an array or tensor (H, W, 3) or (F, H, W, 3), or a
                `Clip`, or a list of several; `media.read` says how each is shown.
            question: in words.
            reduction: what to do with the visual tokens, a `Reduction` or a method alone; None for none.
            budget: instead of a reduction, what the answer may cost: 0.25 or "25%" of the prefill FLOPs,
                "15 TFLOP", "120 MB" of KV cache, "60 ms" of prefill, "36 tokens" a layer, "40% with
                encoder" of all FLOPs, for one clip or pictures of one size; `foveate.plan` chooses.
            max_new_tokens: longest answer, in tokens.
            frames: most frames to take from a clip; 8 where no `fps` is given.
            fps: frames to take per second of a clip.
            task: what a budget is for: "reasoning"; "ocr", where tokens are given up last; or "auto",
                which looks for text in the pictures and in three frames of a clip, 0.1 to 1 s each.
            machine: what it runs on, for a budget in time; see `foveate.reduce`.

        Raises:
            InputError: media that cannot be read, none at all, a clip for a model of images only, or an
                empty question; no tokens for the answer; a reduction and a budget, or a class in a
                reduction's place; a task or machine without a budget; a budget that nothing fits.
        """
        inputs, wanted, knobs = self._prompt(
            media, question, reduction, budget, max_new_tokens, frames, fps, task, machine
        )
        with torch.no_grad(), reduce(self.model, wanted, **knobs) as run:
            output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        written = output[0, inputs["input_ids"].shape[1] :]
        return Answer(self.processor.decode(written, skip_special_tokens=True).strip(), run.report)

    def ask_many(
        self,
        media: Source | Sequence[Source],
        questions: Sequence[str],
        reduction: Given | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        frames: int | None = None,
        fps: int | float | None = None,
    ) -> list[Answer]:
        """Answer several questions about the same pictures, each as if it had been asked alone.

        Pictures are encoded, merged and read by the LLM once, and each question goes on from there. Where
        what is kept depends on the question (a method inside the LLM, CDPruner, QueCC), or a model reads
        its prompt both ways, each is asked alone.

        Args:
            media: as in `ask`.
            questions: in words.
            reduction: as in `ask`.
            max_new_tokens: longest answer, in tokens.
            frames: as in `ask`.
            fps: as in `ask`.

        Returns:
            The answers in order; the report of all is that of the prefill that they share.

        Raises:
            InputError: as in `ask`, or no questions.
        """
        if isinstance(questions, str) or not questions:
            raise InputError(f"questions must be a list of at least 1, got {questions!r}")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        wanted = as_reduction(Reduction() if reduction is None else reduction)
        pictures = self.pictures(media, frames, fps)
        prompts = [self.batch([(pictures, question)]) for question in questions]
        count = shared_tokens(self.model, self.family, prompts, wanted)
        if not count or len(prompts) == 1:
            return [
                self.ask(pictures, question, wanted, max_new_tokens=max_new_tokens)
                for question in questions
            ]
        options = {"max_new_tokens": max_new_tokens, "do_sample": False}
        with torch.no_grad(), reduce(self.model, wanted) as run:
            written = generate_from(self.model, prompts, count, options)
        texts = self.processor.batch_decode(written, skip_special_tokens=True)
        return [Answer(text.strip(), run.report) for text in texts]

    def stream(
        self,
        media: Source | Sequence[Source],
        question: str,
        reduction: Given | None = None,
        budget: Budget | int | float | str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        frames: int | None = None,
        fps: int | float | None = None,
        task: Task | Literal["auto"] = TASK,
        machine: Machine | str | None = None,
    ) -> Stream:
        """The answer piece by piece, each as soon as it is generated; arguments and errors as in `ask`.

        for piece in vlm.stream("photo.png", "What is this?", foveate.AIM(keep=0.25)):
            print(piece, end="", flush=True)
        """
        inputs, wanted, knobs = self._prompt(
            media, question, reduction, budget, max_new_tokens, frames, fps, task, machine
        )
        generate = partial(
            self.model.generate, **inputs, max_new_tokens=max_new_tokens, do_sample=False
        )
        reduced = partial(reduce, self.model, wanted, **knobs)
        return Stream(generate, reduced, self.processor.tokenizer, self.model.device)

    def _prompt(
        self,
        media: Source | Sequence[Source],
        question: str,
        reduction: Given | None,
        budget: Budget | int | float | str | None,
        max_new_tokens: int,
        frames: int | None,
        fps: int | float | None,
        task: Task | Literal["auto"],
        machine: Machine | str | None,
    ) -> tuple[dict[str, Any], Reduction | None, dict[str, Any]]:
        """The tensors of a prompt, and the arguments for `reduce`; arguments and errors as in `ask`."""
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        if reduction is not None and budget is not None:
            raise InputError(
                f"give a reduction or a budget, not both; got {budget!r} beside {reduction}"
            )
        check_of_budget(budget, task, machine)
        wanted, knobs = None, {}
        if budget is None:
            wanted = as_reduction(Reduction() if reduction is None else reduction)
        pictures = self.pictures(media, frames, fps)
        inputs = self.batch([(pictures, question)])
        if budget is not None:
            knobs = {"answer_tokens": max_new_tokens, "task": task, "pixels": looked_at(pictures)}
            if Budget.of(budget).encoder:
                return inputs, self._planned(budget, pictures, inputs, machine, knobs), {}
            knobs |= {"budget": budget, "machine": machine}
        return inputs, wanted, knobs

    def _planned(
        self,
        budget: Budget | int | float | str,
        pictures: Sequence[Image.Image | Clip],
        inputs: dict[str, Any],
        machine: Machine | str | None,
        knobs: dict[str, Any],
    ) -> Reduction:
        """The reduction within a budget that counts the encoder, before anything is encoded."""
        shown, on = media_of_all(pictures), MACHINE if machine is None else machine
        text = self.text_tokens(inputs)
        return plan_reduction(self.model, budget, shown, text, machine=on, **knobs).reduction

    def text_tokens(self, inputs: dict[str, Any]) -> int:
        """Tokens of a prompt, as `inputs` makes it, that stand for no picture."""
        ids = inputs["input_ids"]
        visual = list(self.family.placeholders(self.model.config).values())
        return int((~torch.isin(ids, ids.new_tensor(visual))).sum())

    def inputs(
        self,
        media: Source | Sequence[Source],
        question: str,
        frames: int | None = None,
        fps: int | float | None = None,
    ) -> dict[str, Any]:
        """The tensors of one prompt, on the model's device; arguments and errors as in `ask`."""
        return self.batch([(self.pictures(media, frames, fps), question)])

    def pictures(
        self,
        media: Source | Sequence[Source],
        frames: int | None = None,
        fps: int | float | None = None,
    ) -> list[Image.Image | Clip]:
        """The pictures and clips that a prompt shows; arguments and errors as in `ask`."""
        several: Any = [media] if is_one(media) else media
        given = list(several)
        if not given:
            raise InputError("no picture in the prompt: media is empty, at least 1 is needed")
        return [read(source, Sampling(frames, fps)) for source in given]

    def batch(self, prompts: Sequence[tuple[Sequence[Image.Image | Clip], str]]) -> dict[str, Any]:
        """The tensors of several questions, pictures first, padded on the left, on the model's device.

        Args:
            prompts: for each its pictures and clips, and the question; clips of a batch have equal
                shapes.

        Raises:
            InputError: as in `chats`, or an empty question.
        """
        turns = []
        for pictures, question in prompts:
            if not question.strip():
                raise InputError("the question is empty")
            turns.append([{"role": "user", "content": [*pictures, question]}])
        return self.chats(turns)

    def chats(self, chats: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
        """The tensors of several conversations, padded on the left, on the model's device.

        Args:
            chats: for each its turns, with `role` and `content`: texts, pictures and clips in order.

        Raises:
            InputError: a clip for a model of images only, or a text that holds a picture's placeholder.
        """
        return chat_tensors(self, [chat_text(self.processor, turns) for turns in chats], chats)


def load(
    name: str | Path = MINI, device: str | None = None, dtype: torch.dtype | None = None
) -> VLM:
    """Load a vision-language model and its processor.

    Args:
        name: "foveate-mini", a folder, or a hub id.
        device: default the GPU if there is one.
        dtype: default the checkpoint's own on a GPU, float32 on a CPU.

    Raises:
        InputError: no model there or a broken one, or no such device.
        UnsupportedError: a family that foveate cannot reduce; the message lists those it can.
    """
    place = ASSETS / MINI if str(name) == MINI else name
    importlib.import_module("foveate.models.compressed")  # registers itself with the Auto classes
    where = _device(device)
    chosen = dtype or (torch.float32 if where.type == "cpu" else "auto")
    try:
        config = AutoConfig.from_pretrained(place)
        family_of_config(config, repr(str(name)))  # before fetching weights that cannot be used
        model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=chosen)
        processor = AutoProcessor.from_pretrained(place)
    except FoveateError:
        raise
    except SafetensorError as error:
        raise InputError(
            f"the weights of {str(name)!r} are cut short, or a git-lfs pointer in their place "
            f"({error}); fetch them again"
        ) from None
    except Exception as error:  # any kind: each file of a checkpoint has a parser of its own
        raise InputError(
            f"cannot load a vision-language model from {str(name)!r}: {error}"
        ) from error
    vlm = VLM(model.to(where).eval(), processor, family_of(model))
    LOG.info("loaded %s: %s, %s on %s", name, vlm.family.model_type, model.dtype, model.device)
    return vlm


def _device(name: str | None) -> torch.device:
    """The device of a model; by default a GPU if there is one."""
    gpus = torch.cuda.device_count()
    wanted = name or ("cuda" if gpus else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError, TypeError):
        known = ["cpu", *(f"cuda:{index}" for index in range(gpus))]
        raise InputError(
            f"device must be one that torch has here ({', '.join(known)}), got {name!r}"
        ) from None
