"""The engine `local`: one worker, in this process."""

from collections.abc import Iterable, Iterator
from typing import Any

from foveate.ask.vlm import VLM
from foveate.errors import InputError
from foveate.measure.run.engines import Engine, register_engine
from foveate.measure.run.jobs import Job
from foveate.measure.run.worker import Outcome, Worker


@register_engine("local")
class Local(Engine):
    """Jobs one after another.

    Args:
        vlm: the model.
        name: what it was loaded from.
    """

    def __init__(self, vlm: VLM, name: str) -> None:
        self.worker = Worker(vlm, name)

    @classmethod
    def start(
        cls,
        model: str,
        device: str | None = None,
        threads: int | None = None,
        actors: int | None = None,
    ) -> "Local":
        """Load the model here.

        Raises:
            InputError: no model there, or actors.
        """
        if actors is not None:
            raise InputError(f"actors are of the engine ray; local takes none, got {actors}")
        return cls(Worker.load(model, device, threads).vlm, model)

    def identity(self) -> dict[str, Any]:
        """The worker's."""
        return self.worker.identity()

    def answer(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Outcome]]]:
        """In their order."""
        for job in jobs:
            yield job, self.worker.answer(job.work)

    def time(self, job: Job) -> dict[str, float]:
        """As the worker does."""
        return self.worker.time(job.work)

    def close(self) -> None:
        """Nothing to release."""
