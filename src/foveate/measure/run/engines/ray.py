"""The engine `ray`: a worker in each of several Ray actors, on this machine or on a cluster.

`RAY_ADDRESS` names the cluster; foveate and the model must be on its machines. Only the process that
started the run writes the file, each answer as it comes in. An actor that dies is started anew.

Plain Ray actors are used, not a pool of Ray Data: jobs are drawn one by one as actors become free, so
that few pictures are in memory, and the stopwatch runs on one actor while the others wait.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from foveate.errors import FoveateError, InputError, MissingExtraError
from foveate.measure.run.engines import Engine, register_engine
from foveate.measure.run.jobs import Job, Work
from foveate.measure.run.worker import Outcome, Worker

AHEAD = 2  # jobs of an actor: one running, one waiting
RETRIES = 3  # new tries of a job whose actor died


@register_engine("ray")
class Ray(Engine):
    """Jobs on actors, as these become free.

    Args:
        model: as in `foveate.load`, on every machine.
        device: as in `foveate.load`; if there are GPUs each actor gets its own, unless this is "cpu".
        threads: CPU threads of an actor, 1 if None.
        actors: how many; if None, one for each GPU, or one.

    Raises:
        MissingExtraError: ray is absent.
        InputError: fewer than one actor, more than there is room for, no model there, or another one on
            another machine.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        threads: int | None = None,
        actors: int | None = None,
    ) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingExtraError("The engine ray", "ray") from None
        if actors is not None and actors < 1:
            raise InputError(f"actors must be at least 1, got {actors}")
        self.ray: Any = ray
        self.actors: list[Any] = []
        self.ours, threads = not ray.is_initialized(), threads or 1
        if self.ours:
            ray.init(**init_arguments((actors or 1) * threads))
        try:
            room = {name: float(has) for name, has in ray.cluster_resources().items()}
            count, each = share(room, device, threads, actors)
            make: Any = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **each)(Actor)
            self.actors = [make.remote(model, device, threads) for _ in range(count)]
            loading = [actor.identity.remote() for actor in self.actors]
            identities = [self._get(reference) for reference in loading]
            if len({(mine["weights"], mine["dtype"]) for mine in identities}) > 1:
                raise InputError(f"{model} is not the same model on every machine: {identities}")
        except BaseException:
            self.close()
            raise
        self.shared_identity = {**identities[0], "engine": "ray", "actors": count}

    @classmethod
    def start(
        cls,
        model: str,
        device: str | None = None,
        threads: int | None = None,
        actors: int | None = None,
    ) -> "Ray":
        """Load the model on every actor."""
        return cls(model, device, threads, actors)

    def identity(self) -> dict[str, Any]:
        """The first actor's, and how many there are."""
        return self.shared_identity

    def answer(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Outcome]]]:
        """Answer jobs, in the order in which they are done."""
        todo, running = iter(jobs), {}
        free = deque(self.actors * AHEAD)
        while True:
            while free and (job := next(todo, None)) is not None:
                actor = free.popleft()
                running[actor.answer.remote(job.work)] = actor, job
            if not running:
                return
            (done,), _ = self.ray.wait(list(running), num_returns=1)
            actor, job = running.pop(done)
            free.append(actor)
            yield job, self._get(done)

    def time(self, job: Job) -> dict[str, float]:
        """On the first actor, while the others wait."""
        return self._get(self.actors[0].time.remote(job.work))

    def _get(self, reference: Any) -> Any:
        """A result; what foveate raised on an actor is raised here."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, FoveateError) else error from None

    def close(self) -> None:
        """End the actors, and Ray if it was started here."""
        if self.ours:
            self.ray.shutdown()
            return
        for actor in self.actors:
            self.ray.kill(actor)


class Actor:
    """A worker that loads its model when first used; one that was started anew does so again.

    Args:
        model: as in `foveate.load`.
        device: as in `foveate.load`.
        threads: CPU threads.
    """

    def __init__(self, model: str, device: str | None, threads: int) -> None:
        self.wanted = model, device, threads

    @cached_property
    def worker(self) -> Worker:
        """The worker."""
        return Worker.load(*self.wanted)

    def identity(self) -> dict[str, Any]:
        """As the worker's."""
        return self.worker.identity()

    def answer(self, work: Work) -> list[Outcome]:
        """As the worker's."""
        return self.worker.answer(work)

    def time(self, work: Work) -> dict[str, float]:
        """As the worker's."""
        return self.worker.time(work)


def init_arguments(threads: int) -> dict[str, Any]:
    """How Ray is started: the cluster of RAY_ADDRESS, or this machine alone, seen by nobody else.

    Args:
        threads: CPUs that this machine has at least, whatever it really has.

    Returns:
        The arguments of `ray.init`.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        return quiet
    return quiet | {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": max(threads, os.cpu_count() or 1),
        "_node_ip_address": "127.0.0.1",
    }


def share(
    room: dict[str, float],
    device: str | None,
    threads: int,
    actors: int | None,
    gpus: int | float = 1,
) -> tuple[int, dict[str, Any]]:
    """How many actors there are, and what each takes of the cluster.

    Args:
        room: the cluster's resources.
        device: as in `foveate.load`.
        threads: CPU threads of an actor.
        actors: how many; None for as many as there are GPUs for, or one.
        gpus: of an actor, if it runs on one.

    Raises:
        InputError: there is not enough for all.
    """
    there = room.get("GPU", 0)
    on_gpu = device.startswith("cuda") if device else there > 0
    count = actors or (max(int(there // gpus), 1) if on_gpu else 1)
    each = {"CPU": threads, "GPU": gpus if on_gpu else 0}
    short = [name for name, one in each.items() if count * one > room.get(name, 0)]
    if short:
        has = ", ".join(f"{room.get(name, 0):g} {name}" for name in each)
        less = " or the device cpu" if "GPU" in short else " or threads"
        raise InputError(
            f"{count} actors of {each} do not fit a cluster of {has}; take fewer actors{less}"
        )
    return count, {"num_cpus": threads, "num_gpus": each["GPU"]}
