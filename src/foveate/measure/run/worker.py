"""A worker: one model that answers questions and is timed on them. Every engine has one or several."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from foveate.ask.vlm import VLM, load
from foveate.errors import FoveateError, InputError
from foveate.measure.run.answering import Taken, answer, taken
from foveate.measure.run.jobs import Work
from foveate.measure.run.resize_pictures import Prompt, counts
from foveate.report import STAGES


@dataclass(frozen=True)
class Answered:
    """An answer and what it cost.

    Attributes:
        text: the answer.
        cost: of the answer.
    """

    text: str
    cost: Taken


@dataclass(frozen=True)
class Refused:
    """A question that cannot be asked under a setting.

    Attributes:
        why: in words.
    """

    why: str


Outcome = Answered | Refused


class Worker:
    """A loaded model.

    Args:
        vlm: the model.
        name: what it was loaded from.
    """

    def __init__(self, vlm: VLM, name: str) -> None:
        self.vlm, self.name = vlm, name

    @classmethod
    def load(cls, model: str, device: str | None = None, threads: int | None = None) -> "Worker":
        """Load a model, as `foveate.load` does, and compute with so many CPU threads.

        Raises:
            InputError: no model there, no such device, or no threads.
        """
        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(load(model, device), model)

    def answer(self, work: Work) -> list[Outcome]:
        """Ask all questions at once, or each alone if one of them is refused.

        Raises:
            FoveateError: the unreduced model fails, so that no method is to blame.
        """
        try:
            prompts = self.prepared(work)
            inputs = self.vlm.batch(prompts)
            texts, lengths, report = answer(self.vlm, inputs, work.reduction, work.answer_tokens)
        except FoveateError as error:
            if work.is_off:
                raise
            if len(work.prompts) == 1:
                return [Refused(str(error))]
            alone = [replace(work, prompts=(prompt,)) for prompt in work.prompts]
            return [outcome for one in alone for outcome in self.answer(one)]
        pictures = [shown for shown, _ in prompts]
        asked = None
        if work.smaller is not None:
            asked = [counts(self.vlm, prompt) for prompt in work.prompts]
        costs = taken(self.vlm, inputs, pictures, lengths, report, asked)
        return list(map(Answered, texts, costs))

    def time(self, work: Work) -> dict[str, float]:
        """Mean milliseconds of each stage over the questions, asked one at a time."""
        spent = dict.fromkeys(STAGES, 0.0)
        for prompt in self.prepared(work):
            inputs = self.vlm.batch([prompt])
            *_, report = answer(self.vlm, inputs, work.reduction, work.answer_tokens)
            for stage in STAGES:
                spent[stage] += 1000 * report.seconds[stage] / len(work.prompts)
        return {f"{stage}_ms": ms for stage, ms in spent.items()}

    def prepared(self, work: Work) -> Sequence[Prompt]:
        """The prompts, with resized pictures if so set."""
        if work.smaller is None:
            return work.prompts
        return [work.smaller(self.vlm, prompt) for prompt in work.prompts]

    def identity(self) -> dict[str, Any]:
        """What identifies the model, and where and how it runs."""
        model = self.vlm.model
        return {
            "model": self.name,
            "family": self.vlm.family.model_type,
            "layers": len(self.vlm.family.language_model(model.model).layers),
            "weights": fingerprint(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "gpu": torch.cuda.get_device_name() if model.device.type == "cuda" else None,
            "threads": torch.get_num_threads(),
        }


def fingerprint(model: Any) -> str:
    """Hash of the weights, because the records of a file belong to one model, not to a name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
