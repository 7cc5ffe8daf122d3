"""One training loop for all stages: goes on from the last saved step, and stops when time is up."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from recipes.foveate_mini import checkpoint
from recipes.foveate_mini.progress import Progress
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate
from recipes.foveate_smol.lessons import Lessons, Part, parts_of


@dataclass(frozen=True)
class Stage:
    """How a stage trains.

    Attributes:
        name: of its checkpoint and in the log.
        steps: how many.
        lessons: what it shows.
        check_every: steps between two validations.
        save_seconds: what a kill may cost.
        report_seconds: between two lines of progress.
    """

    name: str
    steps: int
    lessons: Lessons
    peak: float
    warmup: int = 50
    weight_decay: float = 0.01
    check_every: int = 500
    save_seconds: float = 60.0
    report_seconds: float = 20.0


@dataclass(frozen=True)
class Task:
    """What a stage works on.

    Attributes:
        trained: the weights that learn, by name.
        loss_of: the loss of a part of a step.
        check: measures, for the log.
        computing: a context for the forward pass, of mixed precision.
        workers: processes that draw scenes ahead; 0 draws between the steps.
    """

    trained: dict[str, nn.Parameter]
    loss_of: Callable[[Part], Tensor]
    check: Callable[[], dict[str, float]]
    computing: Callable[[], AbstractContextManager[Any]]
    workers: int


def fit(stage: Stage, task: Task, folder: Path, deadline: float) -> bool:
    """Train in place; picks up where a killed run in `folder` stopped.

    Args:
        stage: how to train.
        task: what to train.
        folder: where checkpoint and log are.
        deadline: when to stop, in seconds of `time.monotonic`.

    Returns:
        whether all steps are done.
    """
    path = folder / f"{stage.name}.pt"
    optimizer = adamw(list(task.trained.values()), stage.weight_decay)
    first, before = _restore(path, task.trained, optimizer)
    progress = Progress(stage.name, folder / "log.jsonl", first, stage.steps, before)
    saved = reported = time.monotonic()
    step, losses = first, []
    for parts in _drawn(stage, first, task.workers):
        if time.monotonic() >= deadline:
            break
        losses.append(_step(step, parts, stage, task, optimizer))
        step += 1
        now, done = time.monotonic(), step == stage.steps
        if done or now - reported >= stage.report_seconds:
            progress.report(step, loss=round(sum(losses) / len(losses), 4))
            reported, losses = now, []
        if done or now - saved >= stage.save_seconds:
            _save(path, task.trained, None if done else optimizer, step, progress.seconds)
            saved = now
        if done or step % stage.check_every == 0:
            with task.computing():
                progress.report(step, val=task.check())
    if first < step < stage.steps:
        _save(path, task.trained, optimizer, step, progress.seconds)
    return step == stage.steps


def _drawn(stage: Stage, first: int, workers: int) -> Iterable[list[Part]]:
    """What each step from `first` on shows; drawn by other processes, ahead, if there are any."""
    return DataLoader(
        _Steps(stage.lessons),
        batch_size=None,
        sampler=range(first, stage.steps),
        num_workers=workers,
        collate_fn=_as_it_is,
    )


class _Steps(Dataset):
    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def __getitem__(self, step: int) -> list[Part]:
        return parts_of(step, self.lessons)


def _as_it_is(parts: list[Part]) -> list[Part]:
    return parts


def _step(
    step: int, parts: list[Part], stage: Stage, task: Task, optimizer: torch.optim.Optimizer
) -> float:
    """One update; the mean loss of its parts."""
    set_learning_rate(optimizer, learning_rate(step, stage.steps, stage.peak, stage.warmup))
    optimizer.zero_grad()
    total = 0.0
    for part in parts:
        with task.computing():
            loss = task.loss_of(part) / len(parts)
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(task.trained.values(), 1.0)
    optimizer.step()
    return total


def _save(
    path: Path,
    trained: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer | None,
    step: int,
    seconds: float,
) -> None:
    """Write the state; a finished stage needs its optimizer no more."""
    weights = {name: parameter.detach() for name, parameter in trained.items()}
    state = {"weights": weights, "optimizer": optimizer and optimizer.state_dict()}
    checkpoint.save(path, state | {"step": step, "seconds": seconds})


@torch.no_grad()
def _restore(
    path: Path, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Steps and seconds done so far, with the weights as they were left."""
    state = checkpoint.load(path)
    if state is None:
        return 0, 0.0
    for name, parameter in trained.items():
        parameter.copy_(state["weights"][name])
    if state["optimizer"] is not None:
        optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]
