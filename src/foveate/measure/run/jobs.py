"""What is left to do: questions not yet answered under each setting, in batches of one shape."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from foveate.ask.media import Sampling
from foveate.measure.run.answering import Shown, shape, shown
from foveate.measure.run.log import Cell
from foveate.measure.run.resize_pictures import Prompt, Smaller
from foveate.measure.run.settings import Setting
from foveate.measure.tasks import Item, Task
from foveate.reduction import Reduction


@dataclass(frozen=True)
class Question:
    """One question, ready to be shown.

    Attributes:
        index: its number in the task.
        item: question and answers.
        pictures: pictures and clips that it shows.
    """

    index: int
    item: Item
    pictures: Shown


@dataclass(frozen=True)
class Work:
    """The part of a job that a model needs.

    Attributes:
        prompts: pictures and clips, and the question; clips are of one shape.
        reduction: what is done to the visual tokens.
        answer_tokens: longest answer.
        smaller: how the pictures are resized first, if at all.
    """

    prompts: tuple[Prompt, ...]
    reduction: Reduction
    answer_tokens: int
    smaller: Smaller | None = None

    @property
    def is_off(self) -> bool:
        """Whether this is the unreduced model."""
        return self.reduction.is_off and self.smaller is None


@dataclass(frozen=True)
class Job:
    """Questions of one batch under one setting.

    Attributes:
        key: the cell that the answers belong to.
        questions: of the task, with answers.
        work: the prompts, without what only scoring needs.
    """

    key: Cell
    questions: tuple[Question, ...]
    work: Work

    @classmethod
    def of(cls, task: Task, setting: Setting, questions: Sequence[Question]) -> "Job":
        """Questions of a task under a setting that has a reduction."""
        assert setting.reduction is not None
        prompts = tuple((question.pictures, question.item.question) for question in questions)
        work = Work(prompts, setting.reduction, task.answer_tokens, setting.smaller)
        return cls((task.name, *setting.key), tuple(questions), work)


def jobs(
    task: Task,
    settings: Mapping[Cell, Setting],
    left: Mapping[Cell, Collection[int]],
    size: int,
    sampling: Sampling,
) -> Iterator[Job]:
    """All jobs of a task, batch by batch and in each cell by cell.

    They are made as they are drawn, so that few pictures are in memory.

    Args:
        task: what is asked.
        settings: the setting of each cell.
        left: for each cell the questions that have no answer.
        size: questions of a batch, at most.
        sampling: frames taken from clip files.
    """
    open_ = sorted({index for indices in left.values() for index in indices})
    for batch in batches(task, open_, size, sampling):
        for key, setting in settings.items():
            wanted = [question for question in batch if question.index in left.get(key, ())]
            if wanted:
                yield Job.of(task, setting, wanted)


def batches(
    task: Task, indices: Iterable[int], size: int, sampling: Sampling
) -> Iterator[list[Question]]:
    """Questions of a task in batches of at most `size` and of one shape, made as they are drawn."""
    waiting: dict[tuple, list[Question]] = {}
    for index in indices:
        question = read_question(task, index, sampling)
        alike = waiting.setdefault(shape(question.pictures), [])
        alike.append(question)
        if len(alike) == size:
            yield waiting.pop(shape(question.pictures))
    yield from waiting.values()


def read_question(task: Task, index: int, sampling: Sampling) -> Question:
    """One question with its pictures read."""
    item = task.item(index)
    return Question(index, item, shown(item, sampling))
