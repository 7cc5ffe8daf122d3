"""Records: a number never travels without its conditions, and long work is kept line by line."""

import json
import platform
import subprocess
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from foveate.errors import InputError

UNREDUCED = "unreduced"  # in records, the method that leaves every visual token alone


def conditions(**more: Any) -> dict[str, Any]:
    """What a measurement ran on: processor, library versions, commit, and what the caller adds.

    A missing value is None.
    """
    return {
        "cpu": cpu_name(),
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "transformers", "foveate")},
        "commit": commit(),
        **more,
    }


def all_conditions(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The different conditions that rows of a journal were measured under, in their order."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row["conditions"] not in found:
            found.append(row["conditions"])
    return found


def cpu_name() -> str | None:
    """Model name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


def installed(name: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of this checkout, with "+" after it if tracked files were changed."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Journal:
    """Records in a JSONL file, appended one by one, so that a killed run goes on where it was.

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
        """Every whole record; a last line cut off by a kill is passed over."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def append(self, record: dict[str, Any]) -> None:
        """Write one record and see it to the disk."""
        # a line cut off by a kill must not swallow this one
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
