"""The recipe of a training (what, on which data, how), which is saved with every checkpoint."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from foveate.errors import InputError

RECORD = "foveate_train.json"


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes:
        epochs: passes over the data; 0 leaves the stage out.
        peak: highest learning rate.
        llm: whether the LLM is trained too, not only compressor and projector.
    """

    epochs: int | float
    peak: float
    llm: bool


FIRST, SECOND = Stage(1, 1e-3, llm=False), Stage(1, 2e-5, llm=True)
ADAPT = Stage(1, 2e-4, llm=True)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How any training goes on from step to step.

    Attributes:
        batch: examples per device and step.
        accumulate: steps whose gradients are summed before the weights change.
        bf16: whether to compute in bfloat16.
        save_every: steps between checkpoints.
        warmup: share of the steps in which the learning rate rises.
    """

    batch: int = 16
    accumulate: int = 1
    bf16: bool = False
    save_every: int = 500
    warmup: float = 0.03
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.batch, self.accumulate, self.save_every) < 1:
            raise InputError(
                f"batch, accumulate and save_every must be at least 1, got {self.batch}, "
                f"{self.accumulate} and {self.save_every}"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2**32 - 1, got {self.seed}")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json` can write."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Recipe(Schedule):
    """How a compressor is trained; the defaults are LLaVA-1.5's (arXiv 2310.03744), as QueCC uses them.

    Attributes:
        model: a stock LLaVA-OneVision: "foveate-mini", a folder, or a hub id.
        data: a LLaVA JSON or JSONL file, "hf:NAME_OR_FOLDER", or "scenes:TASKS:COUNT".
        compressor: `name` and settings of the compressor.
        multi_level_layers: vision layers side by side, for compressors that read several.
        query_encoding: "llm", "embedding" or "none".
        views: "base", or "all" with tiles.
        images: folder that image paths are relative to; default the data file's.
        stages: compressor and projector first, then the LLM too.
    """

    model: str
    data: str
    compressor: Mapping[str, Any]
    multi_level_layers: tuple[int, ...] = ()
    query_encoding: str = "none"
    views: str = "base"
    images: str | None = None
    stages: tuple[Stage, Stage] = field(default=(FIRST, SECOND))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_stages(self.stages)


@dataclass(frozen=True)
class Adaptation(Schedule):
    """How a stock model learns to read what a reduction leaves: LoRA on its LLM (arXiv 2106.09685).

    Attributes:
        model: any model that foveate reduces: "foveate-mini", a folder, or a hub id.
        data: as of `Recipe`.
        reduction: what is done to the visual tokens in every step, as `Reduction.to_dict` writes it.
        images: folder that image paths are relative to; default the data file's.
        stage: passes and learning rate.
        rank: of the update of each of the LLM's linear layers, which is scaled by 2 (alpha over rank).
    """

    model: str
    data: str
    reduction: Mapping[str, Any]
    images: str | None = None
    stage: Stage = ADAPT
    rank: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_stages([self.stage])
        if self.rank < 1:
            raise InputError(f"rank must be at least 1, got {self.rank}")


def _check_stages(stages: Sequence[Stage]) -> None:
    """Refuse epochs and learning rates that train nothing.

    Raises:
        InputError: they do.
    """
    epochs = [stage.epochs for stage in stages]
    if not (all(0 <= each < math.inf for each in epochs) and any(epochs)):
        raise InputError(f"epochs must be at least 0, finite and not all 0, got {epochs}")
    peaks = [stage.peak for stage in stages]
    if not all(0 < peak < math.inf for peak in peaks):
        raise InputError(f"learning rates must be above 0 and finite, got {peaks}")


def claim(folder: Path, recipe: Schedule, data_hash: str) -> None:
    """Record the training in `folder`, or check that it holds the same one already.

    Raises:
        InputError: it holds another training (the message names the differences), or it is not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a training goes into a folder, got the file {folder}")
    mine = {"recipe": recipe.to_dict(), "data_hash": data_hash}
    path = folder / RECORD
    if path.exists():
        held = json.loads(path.read_text())
        names = [name.name for name in fields(recipe)]
        changed = [name for name in names if held["recipe"].get(name) != mine["recipe"][name]]
        changed += ["data_hash"] if held["data_hash"] != data_hash else []
        if changed:
            raise InputError(
                f"{folder} holds a training with other settings ({', '.join(changed)} differ); "
                "go on with the same ones, or choose another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=1) + "\n")
