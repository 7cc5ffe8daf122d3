"""Finished parts of an output: each written whole beside it, and joined with the table at the end."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from foveate.errors import InputError
from foveate.serving.batch.asking import Answered
from foveate.serving.batch.table import Table, check_unchanged

WRITTEN = "foveate"  # in the output's metadata: what it was made of
IDENTITY = "settings.json"
READ = 1000  # rows of an output read at once


@dataclass
class Summary:
    """What became of a table.

    Attributes:
        rows: how many it has.
        errors: rows without an answer.
        visual_tokens: of all prompts.
        visual_tokens_kept: of them, mean over the LLM's layers.
    """

    rows: int = 0
    errors: int = 0
    visual_tokens: int = 0
    visual_tokens_kept: float = 0.0

    def __str__(self) -> str:
        text = f"{self.rows:,} rows, {self.errors:,} of them errors; {self.visual_tokens:,} visual tokens"
        if not self.visual_tokens:
            return text
        share = self.visual_tokens_kept / self.visual_tokens
        return f"{text}, {self.visual_tokens_kept:,.0f} kept ({share:.0%})"


@dataclass(frozen=True)
class Part:
    """Some rows of the table.

    Attributes:
        start: number of the first one.
        rows: how many.
        path: of the file with their answers.
    """

    start: int
    rows: int
    path: Path

    def write(self, answers: Sequence[Answered]) -> None:
        """Write all answers at once, or, if this is killed, nothing."""
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        columns = arrow.Table.from_pylist([asdict(row) for row in answers], _schema())
        draft = self.path.with_suffix(f".{uuid4().hex}")
        parquet.write_table(columns, draft)
        os.replace(draft, self.path)

    def read(self) -> Any:
        """The answers, a pyarrow table; None if there is no such file, or not all of it."""
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        try:
            table = parquet.read_table(self.path)
        except (OSError, arrow.ArrowInvalid):
            return None
        return table if table.num_rows == self.rows else None


class Parts:
    """The folder beside an output in which its parts wait.

    Attributes:
        folder: where.
        out: the output.

    Args:
        out: the output.
        identity: what the answers depend on, the table included.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")
        self.identity = dict(identity)
        self.key = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:12]

    @contextmanager
    def opened(self, *, overwrite: bool) -> Iterator[bool]:
        """Hold the folder for this process, and see that its parts are of the same run.

        Args:
            overwrite: whether an output, or parts of another run, may go.

        Yields:
            Whether the output is complete already: this run was killed while its parts were removed.

        Raises:
            InputError: another process holds it; it cannot be written; or, unless they may go, an output,
                or parts of another run: the message says what differs.
        """
        from filelock import FileLock, Timeout

        complete = self.folder.exists() and self._is_of_this_run()
        if self.out.exists() and not overwrite and not complete:
            raise InputError(f"{self.out} exists; --overwrite (overwrite=True) replaces it")
        try:
            self.folder.mkdir(exist_ok=True)
            held = FileLock(self.folder / "lock").acquire(timeout=0)
        except Timeout:
            raise InputError(f"another process is writing {self.out}; wait for its end") from None
        except OSError as error:
            raise InputError(f"cannot write {self.out}, nor its parts beside it: {error}") from None
        with held:
            self._check(overwrite=overwrite)
            yield complete

    def cut(self, rows: int, size: int) -> list[Part]:
        """All parts of a table of so many rows."""
        return [
            Part(start, min(size, rows - start), self.folder / f"{start:09d}-{self.key}.parquet")
            for start in range(0, rows, size)
        ]

    def join(self, table: Table, parts: Sequence[Part], prefix: str) -> Summary:
        """Write the output: the table with the answers of all parts; then remove these.

        Args:
            table: with all its columns.
            parts: all of them, finished.
            prefix: what the names of the new columns begin with.

        Raises:
            InputError: the table was changed meanwhile.
        """
        import pyarrow.parquet as parquet

        summary, draft = Summary(), self.folder / "joined"
        metadata = {**(table.schema.metadata or {}), WRITTEN.encode(): self._text().encode()}
        schema = _with(table.schema.empty_table(), _schema().empty_table(), prefix).schema
        schema = schema.with_metadata(metadata)
        with parquet.ParquetWriter(draft, schema) as writer:
            for part in parts:
                answers = part.read()
                _count(summary, answers)
                rows = _with(table.read(part.start, part.rows), answers, prefix)
                writer.write_table(rows.replace_schema_metadata(metadata))
        check_unchanged(table.path, table.stamp)
        os.replace(draft, self.out)
        self.remove()
        return summary

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def summary(self, prefix: str) -> Summary:
        """What became of the table, read from the complete output."""
        summary, names = Summary(), _schema().names
        table = Table(self.out, [prefix + name for name in names])
        for start in range(0, table.rows, READ):
            _count(summary, table.read(start, READ).rename_columns(names))
        return summary

    def _is_of_this_run(self) -> bool:
        """Whether the output says so."""
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        try:
            metadata = parquet.read_schema(self.out).metadata or {}
        except (OSError, arrow.ArrowInvalid):
            return False
        return metadata.get(WRITTEN.encode()) == self._text().encode()

    def _check(self, *, overwrite: bool) -> None:
        path = self.folder / IDENTITY
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):
            before = None
        if not isinstance(before, dict | None) and not overwrite:
            raise InputError(
                f"{path} must hold one object, the settings of a run, got {_short(before)}: start "
                "afresh with --overwrite (overwrite=True)"
            )
        if isinstance(before, dict) and before != self.identity and not overwrite:
            differing = [
                f"{name} is {_short(self.identity.get(name))}, was {_short(before.get(name))}"
                for name in sorted({*before, *self.identity})
                if before.get(name) != self.identity.get(name)
            ]
            raise InputError(
                f"{self.folder} holds parts of another run: {'; '.join(differing)}. Finish that "
                "one, choose another output, or start afresh with --overwrite (overwrite=True)"
            )
        if before != self.identity:
            for old in self.folder.glob("*.parquet"):
                old.unlink()
            draft = path.with_suffix(".draft")
            draft.write_text(self._text())
            os.replace(draft, path)

    def _text(self) -> str:
        return json.dumps(self.identity)


def check_names(table: Table, prefix: str) -> None:
    """Refuse new columns that the table has already.

    Raises:
        InputError: it has.
    """
    new = [prefix + one.name for one in fields(Answered)]
    taken = [name for name in new if name in table.schema.names]
    if taken:
        raise InputError(
            f"{table.path} has the column {', '.join(taken)} already; give the new ones other names with "
            "--prefix (prefix=)"
        )


def _schema() -> Any:
    import pyarrow as arrow

    kinds = {"answer": arrow.string(), "error": arrow.string(), "visual_tokens": arrow.int64()}
    return arrow.schema(
        [(one.name, kinds.get(one.name, arrow.float64())) for one in fields(Answered)]
    )


def _with(table: Any, answers: Any, prefix: str) -> Any:
    """A table with the columns of its answers."""
    for name in answers.column_names:
        table = table.append_column(prefix + name, answers.column(name))
    return table


def _count(summary: Summary, answers: Any) -> None:
    """Add a part's answers to a summary."""
    rows = answers.to_pydict()
    summary.rows += len(rows["answer"])
    summary.errors += sum(error is not None for error in rows["error"])
    summary.visual_tokens += sum(filter(None, rows["visual_tokens"]))
    summary.visual_tokens_kept += sum(filter(None, rows["visual_tokens_kept"]))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
