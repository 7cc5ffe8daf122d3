"""Make foveate-smol: train its adapter, build the whole model from it, ask the model.

    python -m recipes.foveate_smol train --minutes 60
    python -m recipes.foveate_smol build foveate-smol
    python -m recipes.foveate_smol evaluate foveate-smol

Training goes on from the last saved step when the same command is run again, also after a kill. Needs
`pip install "foveate[smol]"`; downloads nothing. Where other programs share the cores, set
GOMP_SPINCOUNT=30000, as for foveate-mini.
"""

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

import torch

import foveate
from foveate.errors import FoveateError
from recipes.foveate_smol.base import from_wheel, wheel_file
from recipes.foveate_smol.build import DELIVERED, build
from recipes.foveate_smol.evaluate import Score, as_record, evaluate
from recipes.foveate_smol.stages import Place, Recipe, deadline_in, train


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    top = argparse.ArgumentParser(
        prog="python -m recipes.foveate_smol", description=(__doc__ or "").splitlines()[0]
    )
    commands = top.add_subparsers(dest="command", required=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    training = commands.add_parser("train", help="train the adapter, or go on")
    training.add_argument("--minutes", type=float, help="stop after; default when all is done")
    training.add_argument("--work", type=Path, default=Path("runs/foveate-smol"))
    training.add_argument("--device", default=device)
    training.add_argument("--threads", type=int, default=torch.get_num_threads())
    training.add_argument("--workers", type=int, default=0, help="processes that draw ahead")
    for number in fields(Recipe):
        name = "--" + number.name.replace("_", "-")
        training.add_argument(name, type=int, default=number.default)

    building = commands.add_parser("build", help="write the whole model")
    building.add_argument("folder", type=Path)
    building.add_argument("--adapter", type=Path, default=DELIVERED)

    asking = commands.add_parser("evaluate", help="ask a built model")
    asking.add_argument("folder", type=Path)
    asking.add_argument("--split", choices=("val", "test"), default="val")
    asking.add_argument("--questions", type=int, default=100, help="a task")
    asking.add_argument("--device", default=device)
    return top


def run_train(arguments: argparse.Namespace) -> None:
    """Train until all is done or time is up."""
    wheel_file()  # that it is missing should not be learnt after hours
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high")
    recipe = Recipe(**{number.name: getattr(arguments, number.name) for number in fields(Recipe)})
    place = Place(
        arguments.work, arguments.device, deadline_in(arguments.minutes), arguments.workers
    )
    done = train(recipe, from_wheel, place)
    _say(f"trained: {done}" if done else "time is up: run the same command again to go on")


def run_build(arguments: argparse.Namespace) -> None:
    """Write the whole model."""
    build(arguments.folder, arguments.adapter, from_wheel())
    _say(f"built: {arguments.folder}")


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Ask the model, and print its scores as JSON."""
    vlm = foveate.load(arguments.folder, device=arguments.device)
    scores = evaluate(vlm.model, vlm.processor, arguments.split, arguments.questions, _report)
    _say(json.dumps(as_record(scores, arguments.split)))


def _report(task: str, score: Score) -> None:
    sys.stderr.write(f"{task} {asdict(score)}\n")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    """Run a command; what goes wrong on purpose is one line."""
    arguments = parser().parse_args()
    run = {"train": run_train, "build": run_build, "evaluate": run_evaluate}[arguments.command]
    try:
        run(arguments)
    except FoveateError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
