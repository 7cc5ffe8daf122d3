"""The table of questions: a parquet file, of which any rows are read without the rest."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from foveate.errors import InputError, MissingExtraError

QUESTION = "question"
MEDIA = ("image", "images", "video")  # columns; what is null in a row is not shown
AHEAD = 16  # rows decoded at once
BUFFER = 2**20  # bytes of a column in memory; without it a whole row group is read at once


class Table:
    """A parquet file, read forwards for as long as that is what is asked for.

    Attributes:
        path: the file.
        schema: its columns.
        rows: how many it has.
        stamp: of the file when it was opened, as `stamp_of` gives it.

    Args:
        path: of the file.
        columns: those that are read; all if None.

    Raises:
        MissingExtraError: pyarrow is absent.
        InputError: no parquet file.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError:
            raise MissingExtraError("A table in parquet", "batch") from None
        try:
            self.stamp = stamp_of(path)
            file: Any = parquet.ParquetFile(path, buffer_size=BUFFER)
        except (OSError, arrow.ArrowInvalid) as error:
            raise InputError(f"cannot read {path} as a parquet file: {error}") from None
        self.path, self.columns, self.schema = path, columns, file.schema_arrow
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        self.starts = [0, *accumulate(group.num_rows for group in groups)]
        self.rows: int = file.metadata.num_rows
        self._arrow: Any = arrow
        self._file = file
        self._open_group(0)

    def read(self, start: int, count: int) -> Any:
        """A pyarrow table of the rows from `start` on, `count` of them or as many as there are.

        Raises:
            InputError: the file is broken there.
        """
        self._skip_to(start)
        while self._read.num_rows < count and self._next():
            pass
        taken = self._read.slice(0, count)
        self._drop(taken.num_rows)
        return taken

    def identity(self) -> dict[str, Any]:
        """How many rows it has, and a hash of the file."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"rows": self.rows, "sha256": digest[:16]}

    def _skip_to(self, start: int) -> None:
        group = max(bisect_right(self.starts, min(start, self.rows - 1)) - 1, 0)
        if start < self._at or self.starts[group] > self._at + self._read.num_rows:
            self._open_group(group)
        while self._at + self._read.num_rows <= start:
            self._drop(self._read.num_rows)
            if not self._next():
                return
        self._drop(start - self._at)

    def _open_group(self, group: int) -> None:
        """Stand before the first row of a row group."""
        self._at, last = self.starts[group], self._file.num_row_groups
        self._batches = self._file.iter_batches(
            AHEAD, row_groups=range(group, last), columns=self.columns, use_threads=False
        )
        self._read = self._file.schema_arrow.empty_table()
        if self.columns is not None:
            self._read = self._read.select(self.columns)

    def _next(self) -> bool:
        """Decode some rows more, if there are any."""
        try:
            batch = next(self._batches, None)
        except (OSError, self._arrow.ArrowInvalid) as error:
            at = self._at + self._read.num_rows
            raise InputError(f"cannot read {self.path} from row {at} on: {error}") from None
        if batch is not None:
            more = self._arrow.Table.from_batches([batch])
            self._read = self._arrow.concat_tables([self._read, more]) if self._read else more
        return batch is not None

    def _drop(self, count: int) -> None:
        self._at += count
        self._read = self._read.slice(count)


def stamp_of(path: Path) -> tuple[int, int]:
    """What tells, without reading it, that a file was changed: its size and when it was written."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def check_unchanged(path: Path, stamp: tuple[int, int]) -> None:
    """Refuse a table that is not what it was.

    Args:
        path: of the table.
        stamp: of the table when it was opened.

    Raises:
        InputError: it was changed since.
    """
    if stamp_of(path) != stamp:
        raise InputError(f"{path} was changed while it was answered; begin again with the new one")


def check_columns(table: Table) -> list[str]:
    """The columns of a table that a question is made of.

    Raises:
        InputError: none of questions, or none of pictures and clips, or two of one name.
    """
    names = table.schema.names
    shown = [name for name in MEDIA if name in names]
    if twice := [name for name in (QUESTION, *shown) if names.count(name) > 1]:
        raise InputError(f"{table.path} has the column {', '.join(twice)} more than once")
    if QUESTION not in names or not shown:
        raise InputError(
            f"a table needs the column {QUESTION} and at least one of {', '.join(MEDIA)}; "
            f"{table.path} has {', '.join(names) or 'no columns'}"
        )
    return [QUESTION, *shown]
