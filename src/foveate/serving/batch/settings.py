"""What the answers to a table depend on, and by what it is known again when a killed run goes on."""

import hashlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig

from foveate.apply import check_of_budget
from foveate.ask.media import Sampling
from foveate.ask.vlm import ASSETS, MINI
from foveate.cost.calibration import Calibration
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import InputError
from foveate.planner.budget import Budget
from foveate.planner.degradation import Task
from foveate.reduction import Given, Reduction, as_reduction

SAMPLED = 2**16  # bytes read at each of several places of a file of weights
PLACES = 64
WHOLE = 2**22  # files up to this size are read whole


@dataclass(frozen=True)
class Settings:
    """How the rows of a table are asked.

    Attributes:
        model: as in `foveate.load`.
        reduction: what is done to the visual tokens; None for nothing.
        budget: as in `vlm.ask`; each row then gets a reduction of its own, and is asked alone.
        max_new_tokens: longest answer.
        frames: most frames taken from a clip.
        fps: frames taken a second of it.
        task: of a budget.
        machine: of a budget in time.
        batch: rows asked at once.
        part: rows of a part.

    Raises:
        InputError: a value out of range, a reduction and a budget, or a task or machine without a budget.
    """

    model: str = MINI
    reduction: Reduction | None = None
    budget: Budget | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    frames: int | None = None
    fps: int | float | None = None
    task: Task | Literal["auto"] = TASK
    machine: Calibration | str | None = None
    batch: int = 8
    part: int = 100

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch", "part"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reduction is not None and self.budget is not None:
            raise InputError(
                f"give a reduction or a budget, not both; got {self.budget} beside {self.reduction}"
            )
        check_of_budget(self.budget, self.task, self.machine)
        Sampling(self.frames, self.fps)

    @classmethod
    def of(
        cls,
        model: Path | str,
        reduction: Given | None = None,
        budget: Budget | int | float | str | None = None,
        machine: str | None = None,
        **more: Any,
    ) -> "Settings":
        """Settings as a user gives them: paths are made such that actors elsewhere can use them.

        Args:
            model: as in `foveate.load`.
            reduction: a `Reduction` or a method alone.
            budget: as in `vlm.ask`.
            machine: a name, or a .json of `foveate calibrate`.
            **more: the other fields.

        Raises:
            InputError: a value that cannot be used.
        """
        name = str(model)
        if name != MINI and Path(name).is_dir():
            name = str(Path(name).absolute())
        return cls(
            name,
            None if reduction is None else as_reduction(reduction),
            None if budget is None else Budget.of(budget),
            machine=Calibration.read(Path(machine))
            if machine and machine.endswith(".json")
            else machine,
            **more,
        )

    @property
    def at_once(self) -> int:
        """Rows of a batch, at most."""
        return self.batch if self.budget is None else 1

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on but the table, by name, as `json` can write it."""
        reduction = None if self.reduction is None else self.reduction.to_dict()
        named = {"reduction": reduction, "budget": self.budget, "machine": self.machine}
        own = {name: getattr(self, name) for name in self.__dataclass_fields__} | named
        versions = {name: version(name) for name in ("foveate", "torch", "transformers")}
        row = own | {"model": model_identity(self.model)} | versions
        return json.loads(json.dumps(row, default=vars))


def model_identity(name: str) -> dict[str, str]:
    """The model's name, and what tells it from another of that name.

    Args:
        name: as in `foveate.load`.

    Raises:
        InputError: no model there.
    """
    place = ASSETS / MINI if name == MINI else Path(name)
    if place.is_dir():
        return {"name": name, "files": _digest(place)}
    importlib.import_module("foveate.models.compressed")  # registers itself with the Auto classes
    try:
        config = AutoConfig.from_pretrained(name)
    except Exception as error:  # any kind: a name, a network, a file may be at fault
        raise InputError(f"cannot load a vision-language model from {name!r}: {error}") from error
    return {"name": name, "commit": str(getattr(config, "_commit_hash", None))}


def _digest(folder: Path) -> str:
    """Of a checkpoint's files: names, sizes and contents, of large ones at some places."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        for contents in _contents(path):
            digest.update(contents)
    return digest.hexdigest()[:16]


def _contents(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            yield file.read()
            return
        for number in range(PLACES):
            file.seek((size - SAMPLED) * number // (PLACES - 1))
            yield file.read(SAMPLED)
