"""The command line: parse, call one public function, print. Data on stdout, everything else on stderr.

A command is one module here with a function of its name; nothing else is edited.
"""

import importlib
import os
import pkgutil
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from foveate.cli.console import shown_log
from foveate.errors import FoveateError

FIRST = (
    "demo", "ask", "methods", "families", "cost", "plan", "measure", "report", "analyze", "fit",
    "calibrate", "train",
)  # fmt: skip

app = typer.Typer(
    help="Fewer visual tokens for vision-language models: really removed, measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_until_the_end = ExitStack()  # of the command that runs


def main() -> None:
    """Entry point: our own errors become one line on stderr and exit status 2."""
    # foveate shows progress bars of its own
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        with _until_the_end:
            app()
    except FoveateError as error:
        sys.stderr.write(f"foveate: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None


def commands() -> list[str]:
    """The commands' names in the order of the help: those in `FIRST`, then the others."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "console"]
    return sorted(found, key=lambda name: (*FIRST, name).index(name))


@app.callback()
def start(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell on stderr what is done.")
    ] = False,
) -> None:
    """Options of every command, given before its name."""
    if verbose:
        _until_the_end.enter_context(shown_log())


for _name in commands():
    app.command()(getattr(importlib.import_module(f"{__name__}.{_name}"), _name))
