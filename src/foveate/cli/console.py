"""What commands share: parsing of options, and printing of data."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from foveate.errors import InputError

if TYPE_CHECKING:
    from foveate.reduction import Reduction

T = TypeVar("T")
OldMachine = Annotated[str | None, typer.Option("--hardware", hidden=True)]  # old name
MethodName = Annotated[
    str | None, typer.Option(help="A name of `foveate methods`; --keep or --prune alone: aim.")
]
Keep = Annotated[
    float | None, typer.Option(help="Share of visual tokens kept, (0, 1]; aim: 1 merges none.")
]
Prune = Annotated[
    str | None, typer.Option(help="START,STOP as layers or shares of depth, or none.")
]
Written = Annotated[
    str | None,
    typer.Option(
        "--reduction", help='Instead: a .json file, or {"method": "aim", "keep": 0.25} itself.'
    ),
]
BudgetText = Annotated[
    str | None,
    typer.Option(help='Instead: "25%", "15 TFLOP", "40% with encoder", "120 MB", "60 ms".'),
]
BudgetMachine = Annotated[
    str | None, typer.Option(help="Of a budget in time: a calibration.json, or a name.")
]
ClipFrames = Annotated[
    int | None, typer.Option(help="Most frames taken from a clip; 8 without --fps.")
]
ClipFps = Annotated[float | None, typer.Option(help="Frames taken a second of a clip.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document.")]


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """`480x640`: height, width.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None, None
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise InputError(f"--size takes HEIGHTxWIDTH (480x640), got {text!r}") from None
    return height, width


def parse_prune(text: str) -> tuple[int | float, int | float] | None:
    """`14,22`, `0.5,0.786` or `none`.

    Raises:
        InputError: anything else.
    """
    if text == "none":
        return None
    try:
        start, stop = (float(part) if "." in part else int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--prune takes START,STOP (14,22 or 0.5,0.786) or none, got {text!r}"
        ) from None
    return start, stop


def reduction_of(
    written: str | None, method: str | None, keep: float | None, prune: str | None
) -> "Reduction | None":
    """The reduction that the options of a command name.

    Args:
        written: --reduction: JSON, or a .json file of it.
        method: --method; --keep or --prune alone: aim.
        keep: --keep.
        prune: --prune.

    Returns:
        None if no option was given.

    Raises:
        InputError: --reduction beside another, an unknown method or knob, or a value out of range.
    """
    from foveate.reduction import create, read_reduction

    options = {"--method": method, "--keep": keep, "--prune": prune}
    given = [name for name, value in options.items() if value is not None]
    if written is None:
        knobs: dict[str, Any] = {} if keep is None else {"keep": keep}
        if prune is not None:
            knobs["prune"] = parse_prune(prune)
        return create(method or "aim", **knobs) if given else None
    if given:
        raise InputError(
            f"give --reduction, or {', '.join(options)}; got --reduction and {' and '.join(given)}"
        )
    return read_reduction(written)


def renamed(new: str, value: T | None, old: str, given: T | None) -> T | None:
    """The value of a renamed option; the old name still works, with a note on stderr.

    Args:
        new: new name of the option.
        value: its value by that name, None if not given.
        old: old name of the option.
        given: its value by the old name, None if not given.

    Raises:
        InputError: both were given.
    """
    if given is None:
        return value
    if value is not None:
        raise InputError(f"{old} is the old name of {new}: give one of them")
    sys.stderr.write(f"foveate: {old} is now called {new}; the old name will go\n")
    return given


def check_out(option: str, path: Path, *suffixes: str) -> None:
    """Check, before work begins, that its result can be written.

    Raises:
        InputError: another suffix, no such folder, or a folder of that name.
    """
    if path.suffix not in suffixes or path.is_dir() or not path.resolve().parent.is_dir():
        raise InputError(
            f"{option} must be a file ({', '.join(suffixes)}) in an existing folder, got {path}"
        )


def amount(number: int | float) -> str:
    """Three digits and a prefix: 14.8 T."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:#.3g} {unit}".replace(". ", " ")
    return f"{number:.0f}"


def print_table(table: Table) -> None:
    """Print a table on stdout, wide enough for a pipe."""
    _wide(Console()).print(table)


@cache
def on_stderr() -> Console:
    """The console for bars and log lines: one for both, so that a line does not cut through a bar."""
    return _wide(Console(stderr=True))


def progress_bar() -> Progress:
    """A bar on stderr that counts and tells the time left; to be entered."""
    columns = (
        *Progress.get_default_columns()[:3],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=on_stderr(), speed_estimate_period=300)


@contextmanager
def shown_log() -> Iterator[None]:
    """Show foveate's log from INFO on stderr, inside the `with`."""
    from rich.logging import RichHandler

    logger = logging.getLogger("foveate")
    before, handler = logger.level, RichHandler(console=on_stderr(), show_path=False)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = 200
    return console


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; numbers that are not finite, which JSON lacks, become null."""
    finite = json.loads(json.dumps(document), parse_constant=lambda name: None)
    sys.stdout.write(json.dumps(finite) + "\n")


def parse_names(text: str) -> list[str]:
    """`aim,fastv`: names with commas between.

    Raises:
        InputError: no name.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise InputError(f"a list of names with commas between is needed, got {text!r}")
    return names
