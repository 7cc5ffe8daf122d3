"""Gates on the house itself: who imports whom, sizes, surface, and prose that must be true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import foveate
from foveate.cost.vision import encoder
from foveate.models.family import Family, families

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "foveate"
FILES = sorted(SRC.rglob("*.py"))
# packages that are not installed with foveate
APART = [*sorted(ROOT.glob("recipes/*/*.py")), *sorted(ROOT.glob("benchmarks/*/*.py"))]
KNOW_TRANSFORMERS = {"models", "runtime", "ask", "train", "serving"}


def module_of(path: Path) -> str:
    """`src/foveate/planner/__init__.py` -> `foveate.planner`."""
    parts = ("foveate", *path.relative_to(SRC).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_imports_run_one_way():
    """The contract in pyproject.toml; a new part of the house takes its place there."""
    # in a process of its own: it turns off the loggers of the one that it runs in
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_transformers_is_known_only_where_allowed(path):
    knows = any(name.split(".")[0] == "transformers" for name in imports(path))
    assert not knows or path.relative_to(SRC).parts[0] in KNOW_TRANSFORMERS


def test_the_package_knows_no_experiment():
    for path in FILES:
        assert not {name.split(".")[0] for name in imports(path)} & {"recipes", "benchmarks"}, path


@pytest.mark.parametrize("path", [*FILES, *APART], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small_and_documented(path):
    tree = ast.parse(path.read_text())
    assert path.read_text().count("\n") <= 400
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_public_surface():
    assert foveate.__all__ == sorted(foveate.__all__)
    assert len(foveate.__all__) <= 14
    for name in foveate.__all__:
        assert getattr(foveate, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nope'; it has"):
        _ = foveate.nope


def test_every_method_is_a_name_of_the_package():
    classes = {method.build.__name__: method.build for method in foveate.methods().values()}
    assert set(dir(foveate)) == {*classes, *foveate.__all__}
    for name, method in classes.items():
        assert getattr(foveate, name) is method


def test_importing_and_listing_do_nothing():
    code = "import foveate, sys; assert 'FastV' in dir(foveate)\n"
    code += "print(any(m in sys.modules for m in ('torch', 'transformers')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


LISTED = """
import sys
from torch import nn
made, init = [], nn.Module.__init__
nn.Module.__init__ = lambda self, *args, **kwargs: (made.append(type(self)), init(self))[1]
{}
print(made, sorted(name for name in sys.modules if name.startswith("transformers.model")))
"""


@pytest.mark.parametrize(
    "code",
    [
        "import foveate.testing",
        "from foveate.models.support import support; support(('5.17', '5.24'))",
        "import foveate; [method.build() for method in foveate.methods().values()]",
    ],
)
def test_nothing_is_built_to_list(code):
    """No module, nor any of transformers' modelling code, whose import takes longer than all else."""
    command = [sys.executable, "-c", LISTED.format(code)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[] []"


def blocks() -> list:
    """Code of each page, block by block; of a guide all of it, for later blocks build on earlier ones.

    Tutorials are followed by `tests/test_tutorials.py`.
    """
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if page.parent.name == "tutorial":
            continue
        codes = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
        codes = ["\n".join(codes)] if page.parent.name == "guides" else codes
        found += [pytest.param(c, id=f"{page.name}-{number}") for number, c in enumerate(codes)]
    return found


@pytest.mark.parametrize("code", blocks())
def test_prose_code_runs(code, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for what it writes
    # guides add a family and its cost, and methods
    monkeypatch.setattr("foveate.models.family._FAMILIES", dict(families()))
    monkeypatch.setattr(encoder, "_ENCODERS", encoder.encoders())
    monkeypatch.setattr("foveate.registry._TABLE", foveate.methods())
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()
    assert capsys.readouterr().out.strip()


DEFINES = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("page", ["new-method.md", "new-family.md"])
def test_guides_show_files_that_do_nothing_when_they_are_imported(page):
    """Of a guide's blocks only those that are tried at a prompt do something; a test's has tests."""
    text = (ROOT / "docs" / "guides" / page).read_text()
    blocks = re.findall(r"^(.*?)```python\n(.*?)```", text, re.S | re.M)
    tried = 0
    for before, code in blocks:
        body = ast.parse(code).body
        if "At a prompt:" in before:
            tried += 1
            continue
        does = [node for node in body if not isinstance(node, DEFINES)]
        assert [ast.unparse(node) for node in does if not is_text(node)] == []
        # the file that a block is for is the last that is named in front of it
        if "tests/" in re.findall(r"`((?:src|tests)/\S+\.py)`", before)[-1]:
            tests = [node.name for node in body if isinstance(node, ast.FunctionDef)]
            assert tests
            assert all(name.startswith("test_") for name in tests)
        else:
            assert is_text(body[0]), "a module says what it is"
    assert tried == 1
    assert len(blocks) == 4


def test_the_guide_names_all_that_a_family_may_say():
    page = (ROOT / "docs" / "guides" / "new-family.md").read_text()
    hooks = [name for name in vars(Family) if not name.startswith("_")]
    assert [name for name in hooks if not re.search(rf"\b{name}\b", page)] == []
    for row in re.findall(r"^\| .* \|$", page, re.M)[2:]:
        assert set(re.findall(r"`(\w+)", row.split("|")[2])) & set(hooks), row


def test_tables_are_the_records(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from readme_tables import PAGES, TABLES, filled

    texts = [page.read_text() for page in PAGES]
    assert "| model | frames | on |" in texts[0]
    for name in TABLES:
        assert sum(f"<!-- {name} -->\n" in text for text in texts) == 1, name
    for page, text in zip(PAGES, texts, strict=True):
        assert filled(text) == text, f"{page} is out of date: python benchmarks/readme_tables.py"


def test_prose_links_exist():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)#]+)[)#]", prose):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"
        for command in re.findall(r"python ((?:benchmarks|recipes)/\S+\.py)", page.read_text()):
            assert (ROOT / command).exists(), command
        for package in re.findall(r"python -m ((?:benchmarks|recipes)\.\w+)", page.read_text()):
            found = ROOT / package.replace(".", "/")
            assert (found / "__main__.py").exists() or found.with_suffix(".py").exists(), package
