"""The tutorials, followed from top to bottom as a reader does; what they show is what is printed.

A line of a console block that begins with `$` is a command, and what stands below it is what it prints.
A text block is what the python block before it prints. `...` stands for anything, as in doctest.
"""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

from command import run

FOLDER = Path(__file__).parent.parent / "docs" / "tutorial"
PAGES = ["first-answer", "own-model", "first-budget", "first-measurement"]


def steps(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, what is typed, what is printed) of a page, in order."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M)
    for (kind, code), (after, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            yield kind, code, shown if after == "text" else ""
        elif kind == "console":
            for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
                command, _, printed = part.replace("\\\n", "").partition("\n")
                yield kind, command, printed
        else:
            assert kind in {"text", "json"}, (
                f"a tutorial shows what is typed or printed, not {kind}"
            )


def typed(command: str) -> str:
    """What a command prints, on both of its streams."""
    words = shlex.split(command)
    if words[0] == "pip":
        return ""
    assert words[0] == "foveate", command
    done = run(*words[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def executed(code: str, names: dict) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "a tutorial", "exec"), names)
    return out.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    told = 0
    for kind, code, shown in steps((FOLDER / f"{page}.md").read_text()):
        printed = typed(code) if kind == "console" else executed(code, names)
        told += bool(shown)
        assert OutputChecker().check_output(shown, printed, ELLIPSIS), f"{code}\nprints\n{printed}"
    assert told >= 4


def test_there_is_no_other_tutorial():
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted(PAGES)


def test_what_is_not_printed_is_noticed():
    page = "```python\nprint(1)\n```\n\n```text\n2\n```\n"
    page += "```console\n$ foveate x \\\n  y\n3\n4\n$ pip z\n```\n"
    assert list(steps(page)) == [
        ("python", "print(1)\n", "2\n"),
        ("console", "foveate x   y", "3\n4\n"),
        ("console", "pip z", ""),
    ]
    assert executed("print(1)", {}) == "1\n"
    assert not OutputChecker().check_output("2\n", "1\n", ELLIPSIS)
