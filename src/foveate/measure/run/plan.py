"""What is left to do: questions not yet answered under each setting, in batches of one shape."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from foveate.measure.run.answering import Shown, shape, shown
from foveate.measure.tasks import Item, Task
from foveate.serve.media import Sampling


@dataclass(frozen=True)
class Asked:
    """One question, ready to be shown.

    Attributes:
        index: its number in the task.
        item: question and answers.
        pictures: what is shown.
    """

    index: int
    item: Item
    pictures: Shown


def batches(
    task: Task, indices: Iterable[int], size: int, sampling: Sampling
) -> Iterator[list[Asked]]:
    """Questions of a task, `size` at a time and alike in shape; few are held at once."""
    waiting: dict[tuple, list[Asked]] = {}
    for index in indices:
        item = task.item(index)
        pictures = shown(item, sampling)
        alike = waiting.setdefault(shape(pictures), [])
        alike.append(Asked(index, item, pictures))
        if len(alike) == size:
            yield waiting.pop(shape(pictures))
    yield from waiting.values()
