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
        """Every whole record; a last line cut off by a kill is skipped."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, and flush it to disk."""
        # after a line cut off by a kill this one must start on a new line
        start = "" if self._ends_a_line() else "\n"
        with self.path.open("a") as file:
            file.write(start + json.dumps(record) + "\n")
            file.flush()

    def _ends_a_line(self) -> bool:
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
