"""The run itself: every question under every setting, then the stopwatch.

Settings take turns for each batch of questions and in each round, so that a run that was cut short has
compared all of them on the same questions, and a drift of the machine affects all alike. The runner alone
decides what is left and what is written; an engine answers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from foveate.ask.media import Sampling
from foveate.errors import InputError
from foveate.measure.run.engines import Engine
from foveate.measure.run.jobs import Job, jobs, read_question
from foveate.measure.run.log import Cell, Log
from foveate.measure.run.settings import Setting
from foveate.measure.run.worker import Outcome, Refused
from foveate.measure.tasks import Task


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        samples: questions a task; all of them where a task has fewer.
        first: number of the first one; what was chosen on some questions is judged on others.
        batch: questions answered at once; times are always measured one question at a time.
        timed: questions that the stopwatch runs over, the first ones of a task.
        rounds: how often it does, after a warm-up; 0 for no stopwatch.
        sampling: frames taken from clip files.

    Raises:
        InputError: a count below 1 (rounds and first below 0).
    """

    samples: int = 300
    batch: int = 8
    timed: int = 3
    rounds: int = 5
    sampling: Sampling = field(default_factory=Sampling)
    first: int = 0

    def __post_init__(self) -> None:
        least = {"samples": 1, "batch": 1, "timed": 1, "rounds": 0, "first": 0}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise InputError(f"{name} must be at least {number}, got {getattr(self, name)}")

    def of(self, task: Task) -> range:
        """Numbers of the questions of a task.

        Raises:
            InputError: it has none from `first` on.
        """
        last = self.first + self.samples
        asked = range(self.first, last if task.size is None else min(last, task.size))
        if not asked:
            raise InputError(
                f"{task.name} has {task.size} questions, none from number {self.first} on; first must "
                "be smaller"
            )
        return asked


class Runner:
    """Measures what the file lacks.

    Attributes:
        log: the file.
        total: number of answers and of timed answers of the whole run.

    Args:
        engine: what answers, with the model.
        settings: methods at shares, the unreduced model among them.
        tasks: what is asked.
        out: the JSON Lines file.
        amount: how much is measured.

    Raises:
        InputError: the file is of another model, other questions or other knobs; two tasks of a name.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Sequence[Setting],
        tasks: Sequence[Task],
        out: Path,
        amount: Amount = Amount(),
    ) -> None:
        names = [task.name for task in tasks]
        if len(set(names)) < len(names):
            raise InputError(f"tasks must have different names, got {', '.join(names)}")
        self.engine, self.settings, self.tasks, self.amount = engine, settings, tasks, amount
        self.log = Log(out, engine.identity(), tasks, settings, amount.sampling)
        self.asked = {task.name: amount.of(task) for task in tasks}
        counts = [len(numbers) for numbers in self.asked.values()]
        timed = sum(min(amount.timed, count) for count in counts) * amount.rounds
        self.total = len(settings) * (sum(counts) + timed)

    def run(self, progress: Callable[[int, str], None] = lambda done, what: None) -> None:
        """Answer, then time; `progress` is called with how much is done and what is running."""
        done = 0
        for task in self.tasks:
            for step in self._answer(task):
                done += step
                progress(done, f"{task.name}: answering")
        for task in self.tasks:
            for step in self._time(task):
                done += step
                progress(done, f"{task.name}: timing")

    def _possible(self, task: Task) -> dict[Cell, Setting]:
        cells = {(task.name, *setting.key): setting for setting in self.settings}
        return {
            key: setting
            for key, setting in cells.items()
            if setting.reduction is not None and key not in self.log.refused
        }

    def _answer(self, task: Task) -> Iterator[int]:
        """Ask what is not answered; yields how many answers each step added or refused."""
        for setting in self.settings:
            key = (task.name, *setting.key)
            if setting.refused is not None and key not in self.log.refused:
                self.log.refuse(key, setting.refused)
        wanted, possible = set(self.asked[task.name]), self._possible(task)
        settled = {key: self.log.answered[key] | self.log.unanswerable[key] for key in possible}
        left = {key: wanted - settled[key] for key in possible}
        yield len(self.settings) * len(wanted) - sum(map(len, left.values()))
        todo = jobs(task, possible, left, self.amount.batch, self.amount.sampling)
        for job, outcomes in self.engine.answer(todo):
            self._note(task, job, outcomes)
            yield len(job.questions)

    def _note(self, task: Task, job: Job, outcomes: Sequence[Outcome]) -> None:
        for question, outcome in zip(job.questions, outcomes, strict=True):
            if isinstance(outcome, Refused):
                self.log.refuse(job.key, outcome.why, question.index)
                continue
            row = {
                "index": question.index,
                "question_kind": question.item.kind,
                "said": outcome.text,
            }
            row |= {"score": task.score(question.item, outcome.text), **asdict(outcome.cost)}
            self.log.answer(job.key, row)

    def _time(self, task: Task) -> Iterator[int]:
        """Rounds in which all settings that lack one take turns; the first only warms up."""
        amount = self.amount
        if not amount.rounds:
            return
        timed = self.asked[task.name][: amount.timed]
        possible = {
            key: setting
            for key, setting in self._possible(task).items()
            if self.log.unanswerable[key].isdisjoint(timed)
        }
        lacking = [key for key in possible if len(self.log.rounds[key]) < amount.rounds]
        everything = len(self.settings) * len(timed) * amount.rounds
        if not lacking:
            yield everything
            return
        # every setting is compared with the unreduced model, so that is timed in every round
        turns = dict.fromkeys([next(iter(possible)), *lacking])
        least = min(len(self.log.rounds[key]) for key in lacking)
        earlier = max((max(self.log.rounds[key], default=-1) for key in possible), default=-1)
        questions = [read_question(task, index, amount.sampling) for index in timed]
        yield everything // amount.rounds * least
        for number in range(amount.rounds - least + 1):
            rows = {key: self.engine.time(Job.of(task, possible[key], questions)) for key in turns}
            if number:
                for key, row in rows.items():
                    self.log.time(key, {"round": earlier + number, **row})
                yield everything // amount.rounds
