"""Pages that list what the code has: commands, public names, errors."""

import importlib
import importlib.util
import re
from inspect import getdoc, getmembers, isclass
from pathlib import Path

import pytest
import typer

import foveate
from foveate import cli, errors

DOCS = Path(__file__).parents[2] / "docs"


def page_of_commands():
    spec = importlib.util.spec_from_file_location("cli_page", DOCS / "cli_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.written()


def test_the_page_of_commands_is_as_written():
    page = (DOCS / "reference" / "cli.md").read_text()
    assert page == page_of_commands(), "out of date: python docs/cli_page.py"


@pytest.mark.parametrize("name", cli.commands())
def test_the_page_has_what_a_command_takes(name):
    """Against what typer made of the function, not against the function."""
    (part,) = re.findall(rf"^## foveate {name}\n(.*?)(?=^## |\Z)", page_of_commands(), re.M | re.S)
    told = {word for row in re.findall(r"^\| `([^`]+)` \|", part, re.M) for word in row.split()}
    taken = set()
    for parameter in typer.main.get_command(cli.app).commands[name].params:
        if parameter.param_type_name == "argument":
            taken.add(parameter.name.upper())
        elif not parameter.hidden:
            taken |= set(parameter.opts)
    assert told == taken - {"--help"}


def entries() -> list[str]:
    return re.findall(r"^::: (\S+)$", (DOCS / "reference" / "api.md").read_text(), re.M)


def test_the_reference_has_every_public_name():
    told = entries()
    assert len(told) == len(set(told))
    assert {name for name in told if name.count(".") == 1} == {
        f"foveate.{n}" for n in foveate.__all__
    }


@pytest.mark.parametrize("entry", entries())
def test_an_entry_of_the_reference_exists_and_is_documented(entry):
    module, name = entry.rsplit(".", 1)
    assert getdoc(getattr(importlib.import_module(module), name))


def test_the_page_of_errors_is_the_tree():
    """Every error that others can catch, with its bases, each with when it is raised."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.+?) \|", (DOCS / "reference" / "errors.md").read_text(), re.M
    )
    found = {
        name: [base.__name__ for base in kind.__bases__]
        for name, kind in getmembers(errors, isclass)
        if issubclass(kind, Exception)
    }
    assert len(found) >= 6
    assert {name: re.findall(r"`(\w+)`", bases) for name, bases, _ in rows} == found
    assert all(len(when.split()) > 3 for _, _, when in rows)
