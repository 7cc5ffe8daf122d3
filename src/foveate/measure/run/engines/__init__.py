"""Engines: where jobs are answered. The runner decides what is left and writes; an engine only answers.

An engine is one module that registers itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from foveate.errors import InputError
from foveate.measure.run.jobs import Job
from foveate.measure.run.worker import Outcome
from foveate.registry import discover


class Engine(ABC):
    """One or several workers of one model; leaving its `with` releases them."""

    @classmethod
    @abstractmethod
    def start(
        cls, model: str, device: str | None, threads: int | None, actors: int | None
    ) -> "Engine":
        """Load the model.

        Args:
            model: as in `foveate.load`.
            device: default the GPU if there is one.
            threads: CPU threads of a worker; None leaves them as they are.
            actors: workers; None for the engine's own choice.

        Raises:
            InputError: no model there, or workers that this engine cannot have.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """The model, and where and how it runs: see `Worker.identity`."""

    @abstractmethod
    def answer(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Outcome]]]:
        """Answer jobs, which are drawn one by one as workers become free; each is yielded when done."""

    @abstractmethod
    def time(self, job: Job) -> dict[str, float]:
        """One round of the stopwatch, with nothing else running: see `Worker.time`."""

    @abstractmethod
    def close(self) -> None:
        """Release the workers."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_TABLE: dict[str, type[Engine]] = {}


def register_engine(name: str) -> Callable[[type[Engine]], type[Engine]]:
    """Class decorator that enters an engine into the table.

    Raises:
        InputError: the name is taken.
    """
    if name in _TABLE:
        raise InputError(f"an engine named {name!r} is already registered")

    def enter(cls: type[Engine]) -> type[Engine]:
        _TABLE[name] = cls
        return cls

    return enter


def engine(name: str) -> type[Engine]:
    """The engine of that name.

    Raises:
        InputError: no such engine; the message lists the known ones.
    """
    discover(__name__)
    if name not in _TABLE:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(sorted(_TABLE))}")
    return _TABLE[name]
