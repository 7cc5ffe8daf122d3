"""What harnesses have in common: read a model's arguments, answer a chat, add up the costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from foveate.apply import check_of_budget, reduce
from foveate.ask.media import Clip, Sampling, looked_at, read, read_picture
from foveate.ask.vlm import VLM, load
from foveate.combine.aim import AIM
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import InputError
from foveate.reduction import (
    Given,
    Reduction,
    as_reduction,
    at_share,
    create,
    is_written,
    read_reduction,
)
from foveate.registry import method
from foveate.report import Totals

GENERATION = ("max_new_tokens", "temperature", "top_p", "num_beams", "do_sample")


@dataclass
class Asker:
    """A model with the reduction that a harness's arguments describe.

    Attributes:
        vlm: the model.
        reduction: what is done to the visual tokens, unless a budget chooses.
        budget: what a prompt may cost, as in `vlm.ask`; None for the reduction.
        task: what the budget is for, as in `vlm.ask`.
        machine: for a budget in time, as in `vlm.ask`.
        sampling: which frames of a clip are taken.
        spent: costs of all answers so far.
    """

    vlm: VLM
    reduction: Reduction
    budget: Any = None
    task: Any = TASK
    machine: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    spent: Totals = field(default_factory=Totals)

    @classmethod
    def of(
        cls,
        pretrained: str,
        reduction: str | Mapping[str, Any] | Given | None = None,
        preset: str | None = None,
        budget: Any = None,
        task: str = TASK,
        machine: str | None = None,
        share: float | int | None = None,
        frames: int | None = None,
        fps: float | int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        **knobs: Any,
    ) -> "Asker":
        """Load a model from the arguments of a command line.

        Args:
            pretrained: foveate-mini, a folder, or a hub id.
            reduction: a method's name; a written reduction, as JSON, the path of a .json file or a
                dictionary (`Reduction.to_dict`); or in Python what `foveate.reduce` takes. None for no
                reduction.
            preset: instead of a reduction, a published setting, as in `AIM.paper`.
            budget: instead of a reduction, what each prompt may cost (0.15, "25%", "15 TFLOP").
            task: what a budget is for: "reasoning", "ocr", or "auto", which looks at the pictures.
            machine: for a budget in time: a name such as h100, or a .json file of `foveate calibrate`.
            share: instead of knobs, the mean share of visual tokens over the LLM's layers.
            frames: most frames taken from a clip.
            fps: frames taken per second of it.
            device: as torch names it.
            dtype: of the weights, as torch names it.
            **knobs: the method's own; a pair is written START:STOP (prune=14:22).

        Raises:
            InputError: both a reduction and a budget, knobs without a method, a task or machine without a
                budget, or an unknown dtype.
        """
        ways = {"reduction": reduction, "preset": preset, "budget": budget}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"give one of {', '.join(ways)}; got {' and '.join(given)}")
        reduction = _as_written(reduction)
        if not isinstance(reduction, str) and (share is not None or knobs):
            raise InputError(f"knobs need a method: reduction=NAME; got {share=} and {knobs}")
        check_of_budget(budget, task, machine)
        if reduction is not None and not isinstance(reduction, str):
            reduction = as_reduction(reduction)
        if dtype is not None and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise InputError(f"dtype must be one of torch's (bfloat16, float32), got {dtype!r}")
        vlm = load(pretrained, device, None if dtype is None else getattr(torch, dtype))
        chosen = AIM.paper(preset) if preset else _reduction(vlm, reduction, share, knobs)
        return cls(vlm, chosen, budget, task, machine, Sampling(frames, fps))

    def shown(self, source: Any) -> Image.Image | Clip:
        """Read media: what `media.read` takes, a list of frames, a dict with bytes or a path."""
        if isinstance(source, (list, tuple)):
            return Clip([read_picture(frame) for frame in source])
        if isinstance(source, Mapping):
            source = source.get("bytes") or source.get("path") or source.get("url")
        return read(source, self.sampling)

    def answer(self, chat: Sequence[dict[str, Any]], **generation: Any) -> tuple[str, int]:
        """Answer one conversation.

        Args:
            chat: as in `VLM.chats`.
            **generation: arguments of `generate`; by default at most `MAX_NEW_TOKENS` new tokens.

        Returns:
            The text and how many tokens it has.
        """
        generation.setdefault("max_new_tokens", MAX_NEW_TOKENS)
        inputs = self.vlm.chats([chat])
        pictures = [part for turn in chat for part in turn["content"] if not isinstance(part, str)]
        knobs: dict[str, Any] = {}
        if self.budget is not None and pictures:
            knobs = {"budget": self.budget, "task": self.task, "pixels": looked_at(pictures)}
            knobs |= {"machine": self.machine, "answer_tokens": generation["max_new_tokens"]}
        reduction = None if knobs else self.reduction if pictures else Reduction()
        with torch.no_grad(), reduce(self.vlm.model, reduction, **knobs) as run:
            output = self.vlm.model.generate(**inputs, **generation)
        for report in run.reports:
            self.spent.add(report)
        written = output[0, inputs["input_ids"].shape[1] :]
        text = self.vlm.processor.decode(written, skip_special_tokens=True).strip()
        return text, len(written)


def _as_written(given: Any) -> Any:
    """The reduction, if it is a written one; anything else unchanged."""
    if isinstance(given, Mapping):
        return Reduction.from_dict(given)
    return read_reduction(given) if isinstance(given, str) and is_written(given) else given


def _reduction(
    vlm: VLM, name: str | Reduction | None, share: float | int | None, knobs: dict[str, Any]
) -> Reduction:
    if not isinstance(name, str):
        return name or Reduction()
    if share is None:
        return create(name, **{key: _knob(value) for key, value in knobs.items()})
    if knobs:
        raise InputError(f"share= sets all of {name}; got {knobs} beside it")
    return at_share(method(name), share, len(vlm.family.language_model(vlm.model.model).layers))


def _knob(value: Any) -> Any:
    """`14:22` and `0.5:0.786` are pairs; `none` is None."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return None
    parts = value.split(":")
    try:
        pair = tuple(float(part) if "." in part else int(part) for part in parts)
    except ValueError:
        return value
    return pair if len(parts) > 1 else pair[-1]


def generate_arguments(asked: dict[str, Any]) -> dict[str, Any]:
    """A task's `generation_kwargs` as `generate` takes them: greedy by default."""
    given = {name: asked[name] for name in GENERATION if asked.get(name) is not None}
    given.setdefault("max_new_tokens", MAX_NEW_TOKENS)
    given["do_sample"] = bool(given.get("do_sample", given.get("temperature", 0)))
    if not given["do_sample"]:
        given.pop("temperature", None)
        given.pop("top_p", None)
    return given
