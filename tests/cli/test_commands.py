"""Commands are found, each in a file of its own, and listed in the order of use."""

import subprocess
import sys
from pathlib import Path

import foveate
from foveate import cli

FILES = Path(foveate.__path__[0]) / "cli"


def test_a_command_is_one_file():
    files = {path.stem for path in FILES.glob("*.py")} - {"__init__", "console"}
    assert (
        set(cli.commands())
        == files
        == {command.callback.__name__ for command in cli.app.registered_commands}
    )


def test_help_is_in_the_order_of_use():
    known = [
        "demo", "ask", "methods", "families", "cost", "plan", "measure", "report", "analyze", "fit",
        "calibrate", "train",
    ]  # fmt: skip
    assert cli.commands()[: len(known)] == known  # others come after them


def test_help_loads_neither_torch_nor_a_model():
    code = "import sys\nfrom foveate.cli import app\n"
    code += "print(any(name in sys.modules for name in ('torch', 'transformers')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
