"""The public names stay where they are: those of the contract, and those that our pages import."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import foveate

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# others import these; where they are defined is ours to choose
FIXED = {
    "foveate": "AIM Conversation FoveateError Reduction Report VisionTokens create example fit_law load "
    "methods plan reduce register FastV Fovea",
    "foveate.errors": "FoveateError NoEffectError InputError UnsupportedError",
    "foveate.compress.aim": "merge_tokens",
    "foveate.compress.quecc": "QueCC QueCCConfig convert_reference_state",
    "foveate.prune.aim": "token_importance",
    "foveate.prune.fastv": "FastV",
    "foveate.measure.cost": "Cost prefill_cost",
    "foveate.measure.vision.encoder": "Media",
    "foveate.models.family": "families",
    "foveate.testing": "tiny",
    "foveate.cli": "main",
    "foveate.harness.manifest": "manifests",
}


def imported(page: Path) -> set[tuple[str, str]]:
    """(module, name) of each import in a page's code."""
    found = set()
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                found |= {(node.module or "", alias.name) for alias in node.names}
    return {pair for pair in found if pair[0].split(".")[0] == "foveate"}


NAMES = {(module, name) for module, names in FIXED.items() for name in names.split()}


@pytest.mark.parametrize(("module", "name"), sorted(NAMES.union(*map(imported, PAGES))))
def test_public_names_can_be_imported(module, name):
    found = getattr(importlib.import_module(module), name, None)
    assert found is not None or importlib.import_module(f"{module}.{name}")


def test_checks_can_be_imported():
    testing = importlib.import_module("foveate.testing")
    checks = [name for name in vars(testing) if name.startswith("check_")]
    assert len(checks) >= 5
    assert all(vars(testing)[name].__doc__ for name in checks)


def test_the_examples_lie_in_the_package():
    assert list((Path(foveate.__path__[0]) / "assets" / "demo").glob("*.png"))
