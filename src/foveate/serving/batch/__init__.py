"""`answer_table`: a question about pictures in every row of a parquet file, answered on Ray Data."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from foveate.ask.vlm import MINI
from foveate.cost.calibration import Calibration
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import InputError
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.reduction import Given, as_reduction
from foveate.serving.batch.parts import Part, Parts, Summary, check_names
from foveate.serving.batch.settings import Settings
from foveate.serving.batch.table import Table, check_columns
from foveate.serving.batch.work import Workers, answered

Progress = Callable[[int, int, int], None]


def answer_table(
    source: Path | str,
    out: Path | str,
    model: Path | str = MINI,
    reduction: Given | None = None,
    budget: Budget | int | float | str | None = None,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    frames: int | None = None,
    fps: int | float | None = None,
    task: Task | Literal["auto"] = TASK,
    machine: str | None = None,
    batch: int = 8,
    part: int = 100,
    prefix: str = "",
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    gpus_per_worker: int | float = 1,
    overwrite: bool = False,
    progress: Progress = lambda done, rows, errors: None,
) -> Summary:
    """Answer the question in every row of a table; a killed run is gone on with by the same call.

    The output has the rows of the table in their order, all its columns, and those of `Answered`; a row
    that cannot be answered says why in `error`. Parts wait in a folder beside it until all are finished.

    Args:
        source: a parquet file with a column `question`, and `image`, `images` or `video`: paths (relative
            ones start from the table), bytes, or structs of `bytes` and `path` as datasets writes them.
        out: the parquet file to write.
        model: as in `foveate.load`.
        reduction: as in `vlm.ask`.
        budget: as in `vlm.ask`; every row gets a reduction of its own, and is asked alone.
        max_new_tokens: longest answer.
        frames: as in `vlm.ask`.
        fps: as in `vlm.ask`.
        task: of a budget, as in `vlm.ask`.
        machine: of a budget in time: a name, or a .json of `foveate calibrate`.
        batch: rows asked at once.
        part: rows of a part, the least that a killed run does again.
        prefix: what the names of the new columns begin with.
        workers: actors; None for one for each GPU, or one.
        threads: CPU threads of an actor, 1 if None.
        device: default the GPU if there is one.
        gpus_per_worker: GPUs of an actor where there are any; 0.5 for two on one.
        overwrite: replace an output that exists, and parts of another run.
        progress: called with the rows done, all rows, and how many of those done have errors.

    Returns:
        What became of the rows, those of an earlier run included.

    Raises:
        MissingExtraError: Ray Data or pyarrow is absent.
        InputError: a table without these columns, or with one of the new; an output that exists, or parts
            of other settings or another table; a value out of range, or no room for the workers.
        FoveateError: a model that cannot be loaded, or cannot be reduced so.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    table = Table(source)
    check_columns(table)
    check_names(table, prefix)
    if out == source or not out.parent.is_dir() or out.is_dir():
        raise InputError(f"the output must be another file in an existing folder, got {out}")
    settings = Settings(
        _name(model), None if reduction is None else as_reduction(reduction),
        None if budget is None else Budget.of(budget), max_new_tokens, frames, fps, task,
        _machine(machine), batch, part,
    )  # fmt: skip
    with_workers = Workers(workers, device, threads, gpus_per_worker)
    identity = {"table": _identity(table), "prefix": prefix, **settings.identity()}
    parts = Parts(out, identity)
    with parts.opened(overwrite=overwrite) as complete:
        if complete:
            parts.remove()
            return parts.summary(prefix)
        cut = parts.cut(table.rows, part)
        _answer(cut, source, settings, with_workers, progress)
        return parts.join(table, cut, prefix)


def _answer(
    parts: list[Part], source: Path, settings: Settings, workers: Workers, progress: Progress
) -> None:
    """Answer the parts that are not finished."""
    rows, done, errors, left = sum(part.rows for part in parts), 0, 0, []
    for part in parts:
        finished = part.read()
        if finished is None:
            left.append(part)
            continue
        done += part.rows
        errors += part.rows - finished.column("error").null_count
    progress(done, rows, errors)
    for more, wrong in answered(left, source, settings, workers) if left else ():
        done, errors = done + more, errors + wrong
        progress(done, rows, errors)


def _name(model: Path | str) -> str:
    """The model's name, of a folder such that it is found from anywhere."""
    name = str(model)
    return str(Path(name).absolute()) if name != MINI and Path(name).is_dir() else name


def _machine(name: str | None) -> Calibration | str | None:
    """A calibration is read here, for actors elsewhere do not have its file."""
    return Calibration.read(Path(name)) if name and name.endswith(".json") else name


def _identity(table: Table) -> dict[str, Any]:
    with table.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"rows": table.rows, "sha256": digest[:16]}
