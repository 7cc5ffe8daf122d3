"""The conditions of a measurement, which are kept with every number."""

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


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
    """The distinct conditions of a journal's rows, in order."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row["conditions"] not in found:
            found.append(row["conditions"])
    return found


def cpu_name() -> str | None:
    """Model name of the processor, or None."""
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
