"""A journal: records in a file, line by line, so that no work is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foveate.errors import InputError

UNREDUCED = "unreduced"  # in records, the method that changes nothing


class Journal:
    """Records in a JSONL file, appended one by one, so that a killed run can resume.

    Raises:
        InputError: the path is a folder, or its own folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"no folder for the records {path}: {error}") from None
        if path.is_dir():
            raise InputError(f"records are one file, got the folder {path}")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole record; what a kill cut off is skipped.

        Raises:
            InputError: a file that cannot be read, or has a line that is no record.
        """
        return iter(self._read()[0])

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, and flush it to disk; a line cut off by a kill is taken off first.

        Raises:
            InputError: the file does not end a line, and is not one of records.
        """
        self._end_the_last_line()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()

    def _read(self) -> tuple[list[dict[str, Any]], str]:
        """The whole records, and what a kill left of one more."""
        *whole, last = self._text().split("\n")
        records = [
            self._record(n, line)
            for n, line in enumerate(whole, 1)
            if line.strip() and not _is_cut_off(line)
        ]
        try:
            ended = [self._record(len(whole) + 1, last)] if last.strip() else []
        except InputError:
            if not records:  # a kill leaves whole records before the one that it cuts off
                raise
            return records, last
        return records + ended, ""

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read records from {self.path}: {error}") from None

    def _record(self, number: int, line: str) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise InputError(
                f"{self.path} is not a file of records: line {number} must be a JSON object, got "
                f"{line[:80]!r}"
            )
        return record

    def _end_the_last_line(self) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            return
        with self.path.open("r+b") as file:
            file.seek(-1, 2)
            if file.read(1) == b"\n":
                return
            cut = self._read()[1].encode()
            if cut:
                file.seek(-len(cut), 2)
                file.truncate()
            else:
                file.write(b"\n")


def _is_cut_off(line: str) -> bool:
    """Whether a line begins a record that a kill cut off: earlier versions went on in the next line."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith('{"')
    return False
