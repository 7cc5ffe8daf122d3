"""Writes the page of all commands, docs/reference/cli.md, from their functions.

    python docs/cli_page.py

A test fails when the page and the commands disagree.
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from foveate.cli import commands

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """\
# Commands

`foveate COMMAND --help` shows the same at a terminal. Data goes to stdout, all else to stderr; an error
is one line and status 2 ([errors](errors.md)). `foveate --verbose COMMAND` tells what is done.
"""


def written() -> str:
    """The page as it should be."""
    return "\n".join([HEAD, *map(section, commands())])


def section(name: str) -> str:
    """What a command does, how it is called, and a table of what it takes."""
    function = getattr(importlib.import_module(f"foveate.cli.{name}"), name)
    kinds = get_type_hints(function, include_extras=True)
    rows, places = [], []
    for parameter in inspect.signature(function).parameters.values():
        info = kinds[parameter.name].__metadata__[0]
        if info.hidden:
            continue
        shown = " ".join(declared(parameter.name, info))
        if not option(info):
            shown = parameter.name.upper()
            places.append(shown if parameter.default is parameter.empty else f"[{shown}]")
        rows.append(f"| `{shown}` | {cell(info.help or '')} | {default(parameter)} |")
    usage = " ".join(["foveate", name, *places])
    lines = [f"## foveate {name}\n", f"{inspect.getdoc(function)}\n", f"    {usage} [OPTIONS]\n"]
    return "\n".join([*lines, "| takes | what it is | default |", "| --- | --- | --- |", *rows, ""])


def option(info: Any) -> bool:
    """Whether it is given by name, not by place."""
    return type(info).__name__ == "OptionInfo"


def declared(name: str, info: Any) -> Iterator[str]:
    """The names of an option, the long one first."""
    texts = [info.default, *(info.param_decls or ())]  # typer reads the first name as a default
    given = [text for text in texts if isinstance(text, str) and text.startswith("-")]
    yield from sorted(given, key=len, reverse=True) or [f"--{name.replace('_', '-')}"]


def default(parameter: inspect.Parameter) -> str:
    """The value that it has when it is left out."""
    value = parameter.default
    if value is parameter.empty:
        return "needed"
    return "" if value in (None, False) else f"`{value}`"


def cell(text: str) -> str:
    """A text inside a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
