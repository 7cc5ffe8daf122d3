"""The glossary names only code that exists, and is complete, sorted and linked."""

import ast
import re
from pathlib import Path

import pytest

import foveate
from foveate.cli import commands

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
][2:]
CODE = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


def members(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Methods and fields of a class, or parameters of a function."""
    if isinstance(node, ast.FunctionDef):
        return {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    fields = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    return fields | {part.name for part in node.body if isinstance(part, ast.FunctionDef)}


def names() -> set[str]:
    """`Report`, `Report.kv_bytes`, `reduce.budget`: all names of the package, by file and class."""
    found = set()
    for path in sorted((ROOT / "src" / "foveate").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found |= {node.name, *(f"{node.name}.{member}" for member in members(node))}
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def exists(code: str, known: set[str]) -> bool:
    """A command, `foveate.NAME` of the public names, a knob, or any other name of the package."""
    if code.startswith("foveate "):
        return code.removeprefix("foveate ") in commands()
    if code.startswith("foveate."):
        name = code.removeprefix("foveate.")
        return hasattr(foveate, name.split(".")[0]) and ("." not in name or name in known)
    return code in known or f"KeepShare.{code}" in known


@pytest.fixture(scope="module")
def known() -> set[str]:
    return names()


@pytest.mark.parametrize("code", CODE)
def test_code_exists(code, known):
    assert exists(code, known)


@pytest.mark.parametrize(
    "code", ["Report.kv_byte", "foveate.reduces", "foveate.reduce.budgets", "foveate weigh"]
)
def test_other_code_does_not(code, known):
    assert not exists(code, known)


def test_rows():
    words = [row[0].lower() for row in ROWS]
    assert len(words) == len(set(words)) == 27
    assert words == sorted(words)
    for word, meaning, code, elsewhere in ROWS:
        assert re.fullmatch(r"[A-Z](?!.*\. ).*\.", meaning), f"one sentence: {word}"
        assert re.search(r"`\w", code), word
        assert elsewhere, word


@pytest.mark.parametrize("page", ["README.md", "docs/how-it-works.md"])
def test_it_is_linked(page):
    assert re.search(r"\]\((docs/)?glossary\.md\)", (ROOT / page).read_text())
