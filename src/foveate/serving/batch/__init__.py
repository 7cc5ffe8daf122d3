"""`answer_table`: a question about pictures in every row of a parquet file, answered on Ray Data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from foveate.ask.vlm import MINI
from foveate.errors import InputError
from foveate.planner.budget import Budget
from foveate.reduction import Given
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
    workers: Workers | None = None,
    prefix: str = "",
    overwrite: bool = False,
    progress: Progress = lambda done, rows, errors: None,
    **more: Any,
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
        workers: the actors; None for one for each GPU, or one.
        prefix: what the names of the new columns begin with.
        overwrite: replace an output that exists, and parts of another run.
        progress: called with the rows done, all rows, and how many of those done have errors.
        **more: other fields of `Settings`, such as `max_new_tokens`, `batch` and `part`.

    Returns:
        What became of the rows, those of an earlier run included.

    Raises:
        MissingExtraError: Ray Data or pyarrow is absent.
        InputError: a table without these columns, or with one of the new; an output that exists, or parts
            of other settings or another table; a table that is changed meanwhile; a value out of range,
            or no room for the workers.
        FoveateError: a model that cannot be loaded, or cannot be reduced so.
    """
    settings = Settings.of(model, reduction, budget, **more)
    table, out = Table(Path(source).absolute()), Path(out).absolute()
    check_columns(table)
    check_names(table, prefix)
    is_source = out.exists() and out.samefile(table.path)
    if is_source or not out.parent.is_dir() or out.is_dir():
        raise InputError(f"the output must be another file in an existing folder, got {out}")
    parts = Parts(out, {"table": table.identity(), "prefix": prefix, **settings.identity()})
    with parts.opened(overwrite=overwrite) as complete:
        if complete:
            parts.remove()
            return parts.summary(prefix)
        cut = parts.cut(table.rows, settings.part)
        _answer(cut, table, settings, workers or Workers(), progress)
        return parts.join(table, cut, prefix)


def _answer(
    parts: list[Part], table: Table, settings: Settings, workers: Workers, progress: Progress
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
    for more, wrong in answered(left, table, settings, workers) if left else ():
        done, errors = done + more, errors + wrong
        progress(done, rows, errors)
