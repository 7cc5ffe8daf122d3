"""The run itself: every question under every setting, then the stopwatch.

Settings take turns, question batch by question batch and round by round, so that a run that was cut
short has compared all of them on the same questions, and a drift of the machine hits all of them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from foveate.errors import FoveateError, InputError
from foveate.measure.run.answering import answer, shown, taken
from foveate.measure.run.log import Cell, Log
from foveate.measure.run.plan import Asked, batches
from foveate.measure.run.settings import Setting
from foveate.measure.tasks import Task
from foveate.serve.media import Sampling
from foveate.serve.vlm import VLM

PARTS = ("encode", "compress", "score", "prefill", "decode")


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        samples: questions a task; all of them where a task has fewer.
        batch: questions answered at once; times are always of one.
        timed: questions that the stopwatch runs over, the first ones of a task.
        rounds: times it does, after a warm-up; 0 for no stopwatch.
        sampling: frames taken from clip files.

    Raises:
        InputError: a count below 1 (rounds below 0).
    """

    samples: int = 300
    batch: int = 8
    timed: int = 3
    rounds: int = 5
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("batch", 1), ("timed", 1), ("rounds", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


class Runner:
    """Measures what the file lacks.

    Attributes:
        log: the file.
        total: answers and timed answers that make up the whole.

    Args:
        vlm: the model.
        name: what it was loaded from.
        settings: methods at budgets, the unreduced model among them.
        tasks: what is asked.
        out: the JSON Lines file.
        amount: how much of it.

    Raises:
        InputError: the file is of another model, other questions or other knobs; two tasks of a name.
    """

    def __init__(
        self,
        vlm: VLM,
        name: str,
        settings: Sequence[Setting],
        tasks: Sequence[Task],
        out: Path,
        amount: Amount = Amount(),
    ) -> None:
        names = [task.name for task in tasks]
        if len(set(names)) < len(names):
            raise InputError(f"tasks must have different names, got {', '.join(names)}")
        self.vlm, self.settings, self.tasks, self.amount = vlm, settings, tasks, amount
        self.log = Log(out, identity(vlm, name), tasks, settings)
        self.counts = {
            task.name: min(amount.samples, task.size or amount.samples) for task in tasks
        }
        timed = sum(min(amount.timed, count) for count in self.counts.values()) * amount.rounds
        self.total = len(settings) * (sum(self.counts.values()) + timed)

    def run(self, seen: Callable[[int, str], None] = lambda done, what: None) -> None:
        """Answer, then time; `seen` is told how much is done and what is under way."""
        done = 0
        for task in self.tasks:
            for step in self._answer(task):
                done += step
                seen(done, f"{task.name}: answering")
        for task in self.tasks:
            for step in self._time(task):
                done += step
                seen(done, f"{task.name}: timing")

    def _possible(self, task: Task) -> list[tuple[Cell, Setting]]:
        cells = [((task.name, *setting.key), setting) for setting in self.settings]
        return [(key, setting) for key, setting in cells if key not in self.log.refused]

    def _answer(self, task: Task) -> Iterator[int]:
        """Ask what is not answered; yields how many cells' questions each step settled."""
        wanted = range(self.counts[task.name])
        for key, setting in self._possible(task):
            if setting.refused is not None:
                self.log.refuse(key, setting.refused)
        open_ = {
            index
            for key, _ in self._possible(task)
            for index in wanted
            if index not in self.log.answered[key]
        }
        yield len(self.settings) * (len(wanted) - len(open_))
        for batch in batches(task, sorted(open_), self.amount.batch, self.amount.sampling):
            for key, setting in self._possible(task):
                left = [asked for asked in batch if asked.index not in self.log.answered[key]]
                self._ask(task, key, setting, left)
            yield len(self.settings) * len(batch)

    def _ask(self, task: Task, key: Cell, setting: Setting, batch: Sequence[Asked]) -> None:
        if not batch or setting.reduction is None:
            return
        inputs = self.vlm.batch([(asked.pictures, asked.item.question) for asked in batch])
        try:
            texts, lengths, report = answer(self.vlm, inputs, setting.reduction, task.answer_tokens)
        except FoveateError as error:
            if setting.reduction.is_off:  # then it is the model or the question that fails
                raise
            self.log.refuse(key, str(error))
            return
        costs = taken(self.vlm, [asked.pictures for asked in batch], lengths, report)
        for asked, text, cost in zip(batch, texts, costs, strict=True):
            row = {"index": asked.index, "question_kind": asked.item.kind, "said": text}
            row |= {"score": task.score(asked.item, text), **asdict(cost)}
            self.log.answer(key, row)

    def _time(self, task: Task) -> Iterator[int]:
        """Rounds in which all settings that lack one take turns; the first only warms up."""
        amount = self.amount
        if not amount.rounds:
            return
        timed = range(min(amount.timed, self.counts[task.name]))
        possible = self._possible(task)
        lacking = [
            (key, setting) for key, setting in possible if len(self.log.rounds[key]) < amount.rounds
        ]
        everything = len(self.settings) * len(timed) * amount.rounds
        if not lacking:
            yield everything
            return
        # all are compared with the unreduced model, so it takes its turn in every round
        turns = dict(possible[:1] + lacking)
        least = min(len(self.log.rounds[key]) for key, _ in lacking)
        earlier = max((max(self.log.rounds[key], default=-1) for key, _ in possible), default=-1)
        prompts = [self._prompt(task, index) for index in timed]
        yield everything // amount.rounds * least
        for number in range(amount.rounds - least + 1):
            rows = {key: self._stopwatch(task, setting, prompts) for key, setting in turns.items()}
            if number:
                for key, row in rows.items():
                    self.log.time(key, {"round": earlier + number, **row})
                yield everything // amount.rounds

    def _prompt(self, task: Task, index: int) -> dict[str, Any]:
        item = task.item(index)
        return self.vlm.batch([(shown(item, self.amount.sampling), item.question)])

    def _stopwatch(
        self, task: Task, setting: Setting, prompts: Sequence[dict[str, Any]]
    ) -> dict[str, float]:
        """Mean milliseconds of each part over the timed questions, one at a time."""
        spent = dict.fromkeys(PARTS, 0.0)
        assert setting.reduction is not None
        for inputs in prompts:
            *_, report = answer(self.vlm, inputs, setting.reduction, task.answer_tokens)
            for part in PARTS:
                spent[part] += 1000 * report.seconds[part] / len(prompts)
        return {f"{part}_ms": ms for part, ms in spent.items()}


def identity(vlm: VLM, name: str) -> dict[str, Any]:
    """What tells one model from another, and where and how it runs."""
    return {
        "model": name,
        "family": vlm.family.model_type,
        "layers": len(vlm.family.language_model(vlm.model.model).layers),
        "weights": fingerprint(vlm.model),
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "device": str(vlm.model.device),
        "gpu": torch.cuda.get_device_name() if vlm.model.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
    }


def fingerprint(model: Any) -> str:
    """Hash of the weights: a file's records belong to one model, not to a name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
