"""The parts of a table on the actors of Ray Data, each with a model of its own."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from foveate.ask.examples import example
from foveate.ask.vlm import VLM, load
from foveate.errors import BudgetError, FoveateError, InputError, MissingExtraError
from foveate.measure.run.engines.ray import init_arguments, share
from foveate.serving.batch.asking import Row, answer_rows
from foveate.serving.batch.deaths import Attempts
from foveate.serving.batch.parts import Part
from foveate.serving.batch.settings import Settings
from foveate.serving.batch.table import Table, check_columns, check_unchanged

LOGGERS = ("ray.data", "ray.exceptions")


@dataclass(frozen=True)
class Workers:
    """What answers.

    Attributes:
        count: how many; None for one for each GPU, or one.
        device: as in `foveate.load`.
        threads: CPU threads of each, 1 if None.
        gpus: GPUs of each, if there are any; a part of one is shared.

    Raises:
        InputError: a number out of range.
    """

    count: int | None = None
    device: str | None = None
    threads: int | None = None
    gpus: int | float = 1

    def __post_init__(self) -> None:
        least = {"workers": self.count, "threads": self.threads}
        for name, number in least.items():
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1, got {number}")
        if not self.gpus > 0:
            raise InputError(f"gpus_per_worker must be above 0, got {self.gpus}")


class Worker:
    """Answers parts; a model that cannot be asked at all is told with the first part.

    Args:
        source: the table.
        stamp: of the table, which must stay as it is.
        settings: how its rows are asked.
        workers: on what.
        run: a name for this run, for no death of another counts.
    """

    def __init__(
        self, source: Path, stamp: tuple[int, int], settings: Settings, workers: Workers, run: str
    ) -> None:
        self.source, self.stamp, self.settings = source, stamp, settings
        self.workers, self.run = workers, run

    @cached_property
    def vlm(self) -> VLM:
        """The model, which has answered a question about a picture of our own."""
        torch.set_num_threads(self.workers.threads or 1)
        vlm, asked = load(self.settings.model, self.workers.device), self.settings
        with suppress(BudgetError):  # others may fit
            vlm.ask(
                example(), "what is it?", asked.reduction, asked.budget, 1, task=asked.task,
                machine=asked.machine,
            )  # fmt: skip
        return vlm

    @cached_property
    def table(self) -> Table:
        """The table, of which only what is asked is read."""
        return Table(self.source, check_columns(Table(self.source)))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer parts and write each when it is done.

        Args:
            batch: parts, a column for each of their attributes.

        Returns:
            Columns: the rows of each, those without an answer, and why no row can be asked, mostly "".
        """
        parts = [
            Part(int(start), int(rows), Path(path))
            for start, rows, path in zip(batch["start"], batch["rows"], batch["path"], strict=True)
        ]
        done = [self._answer(part) for part in parts]
        return {name: [one[name] for one in done] for name in ("rows", "errors", "refused")}

    def _answer(self, part: Part) -> dict[str, Any]:
        try:
            vlm, asked = self.vlm, self.settings
            attempts = Attempts(part.path.with_suffix(f".{self.run}"))
            if attempts.one_by_one:
                asked = replace(asked, batch=1)
            answers = answer_rows(vlm, self._rows(part, attempts), asked, self.source.parent)
            check_unchanged(self.source, self.stamp)
            part.write(answers)
        except torch.AcceleratorError:  # for good, in this process; Ray starts another
            os._exit(1)
        except (FoveateError, OSError) as error:
            return {"rows": 0, "errors": 0, "refused": str(error)}
        errors = sum(row.error is not None for row in answers)
        return {"rows": part.rows, "errors": errors, "refused": ""}

    def _rows(self, part: Part, attempts: Attempts) -> Iterator[Row]:
        """The rows of a part, but instead of one at which the worker died why it is not asked."""
        numbers = range(part.start, part.start + part.rows)
        for number in attempts.noted(numbers) if attempts.one_by_one else numbers:
            if number in attempts.deadly:
                yield InputError(
                    "the worker died while it answered this row: a broken file, or too little memory"
                )
            else:
                yield self.table.read(number, 1).to_pylist()[0]


def answered(
    parts: Sequence[Part], table: Table, settings: Settings, workers: Workers
) -> Iterator[tuple[int, int]]:
    """Answer parts of a table on actors of Ray Data, as these become free.

    Args:
        parts: those to answer; each is written by its actor.
        table: of which they are.
        settings: how its rows are asked.
        workers: how many actors, and where.

    Yields:
        Of each part, when it is done: its rows, and those without an answer.

    Raises:
        MissingExtraError: Ray Data is absent.
        InputError: more workers than there is room for.
        FoveateError: a model that cannot be loaded, or cannot be asked under these settings; a table that
            was changed meanwhile.
    """
    try:
        import ray.data as data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("A batch", "batch") from None
    threads = workers.threads or 1
    with _cluster((workers.count or 1) * threads) as ray, _quiet(data):
        room = {name: float(has) for name, has in ray.cluster_resources().items()}
        count, each = share(room, workers.device, threads, workers.count, workers.gpus)
        rows = [{**asdict(part), "path": str(part.path)} for part in parts]
        done: Any = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            fn_constructor_args=(table.path, table.stamp, settings, workers, uuid4().hex),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(count, len(rows))),
            **each,
        )
        for batch in done.iter_batches(batch_size=1, prefetch_batches=0):
            one = {name: values.item() for name, values in batch.items()}
            if one["refused"]:
                raise FoveateError(one["refused"])
            yield one["rows"], one["errors"]


@contextmanager
def _cluster(threads: int) -> Iterator[Any]:
    """Ray, as it is if it has been started; else started here, and ended with the `with`."""
    import ray  # pyright: ignore[reportMissingImports]

    ours = not ray.is_initialized()
    if ours:
        ray.init(**init_arguments(threads))
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Neither bars nor log lines of Ray Data; what goes wrong is raised."""
    context, loggers = data.DataContext.get_current(), [*map(logging.getLogger, LOGGERS)]
    bars, levels = context.enable_progress_bars, [logger.level for logger in loggers]
    context.enable_progress_bars = False
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
