"""The three stages: the tower learns to read, the projector to be understood, the LoRA to answer.

1. tower: foveate-mini, all of it, learns the seven tasks at 144 pixels in short answers. Its own
   small language model reads what the tower writes, cheaply; only the tower is kept.
2. align: the projector before the pretrained language model, which stays as it is.
3. join: the projector and the LoRA, answers in sentences.

The tower computes in float32. The language model computes in bfloat16 where the machine is made for
it, else in float32; what learns is float32 always.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

import foveate
from foveate.errors import InputError
from recipes.foveate_mini.packing import Packer
from recipes.foveate_smol import adapter
from recipes.foveate_smol.base import Base
from recipes.foveate_smol.lessons import Lessons, Part, accuracy, run
from recipes.foveate_smol.loop import Stage, Task, fit
from recipes.foveate_smol.model import add_lora, join, projector_of

ADAPTER = "adapter.safetensors"


WHOLE_FROM = 0.8  # share of the steps after which pictures are always shown in both views


@dataclass(frozen=True)
class Recipe:
    """How foveate-smol is trained.

    Attributes:
        batch: pictures or clips of a step of `align` and `join`.
        at_once: how many of them go through the model together; fewer take less memory.
    """

    tower_steps: int = 6000
    tower_batch: int = 16
    align_steps: int = 150
    join_steps: int = 2500
    batch: int = 8
    at_once: int = 4
    turns: int = 8

    @property
    def tower(self) -> Stage:
        """All of foveate-mini, in short answers."""
        taught = self._lessons(self.tower_steps, self.tower_batch, seed=11, sentences=False)
        return Stage("tower", self.tower_steps, taught, peak=1e-3, warmup=100)

    @property
    def align(self) -> Stage:
        """The projector alone."""
        taught = self._lessons(self.align_steps, self.batch, seed=12)
        return Stage("align", self.align_steps, taught, peak=2e-3, warmup=10)

    @property
    def join(self) -> Stage:
        """The projector and the LoRA."""
        taught = self._lessons(self.join_steps, self.batch, seed=13)
        return Stage("join", self.join_steps, taught, peak=5e-4, warmup=50)

    def _lessons(self, steps: int, batch: int, seed: int, *, sentences: bool = True) -> Lessons:
        at_once = min(batch, self.at_once) if sentences else batch
        whole_from = int(WHOLE_FROM * steps)
        return Lessons(batch, at_once, self.turns, sentences, whole_from, seed)


def claim(recipe: Recipe, folder: Path) -> None:
    """Write down how `folder` is trained, or check that it is trained so.

    Raises:
        InputError: a training of other numbers was begun there.
    """
    path, numbers = folder / "recipe.json", asdict(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(numbers, indent=1) + "\n")
    begun = json.loads(path.read_text())
    if begun != numbers:
        other = {name: begun.get(name) for name in numbers if begun.get(name) != numbers[name]}
        raise InputError(
            f"the training in {folder} was begun with {other}; got "
            f"{ {name: numbers[name] for name in other} }: say the same, or name another --work"
        )


@dataclass(frozen=True)
class Place:
    """Where training runs.

    Attributes:
        folder: of checkpoints, the log and the adapter.
        device: "cpu" or "cuda".
        deadline: when to stop, in seconds of `time.monotonic`.
        workers: processes that draw scenes ahead.
    """

    folder: Path
    device: str
    deadline: float = float("inf")
    workers: int = 0


def train(recipe: Recipe, base: Callable[[], Base], place: Place) -> Path | None:
    """Run what is left of the three stages.

    Args:
        recipe: how to train.
        base: loads the language model; called when the tower is done.
        place: where to train.

    Returns:
        the finished adapter; None where time ran out first.

    Raises:
        InputError: a training of other numbers was begun there.
    """
    claim(recipe, place.folder)
    tower = train_tower(recipe.tower, place)
    if tower is None:
        return None
    pretrained = base()
    model = join(pretrained, tower.config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    path = place.folder / ADAPTER
    done = train_joined(recipe, model, pretrained, place)
    if any(".lora_" in name for name, _ in model.named_parameters()):
        adapter.save(model, pretrained.mark, path)
    return path if done else None


def train_tower(stage: Stage, place: Place) -> Any:
    """The tower that reads all tasks; None where time ran out first."""
    mini = foveate.load(device=place.device, dtype=torch.float32)
    model: Any = mini.model
    trained = {
        name: part for name, part in model.named_parameters() if "post_layernorm" not in name
    }
    done = fit(
        stage,
        _task(place, model, Packer(mini.processor.tokenizer), stage, trained, nullcontext),
        place.folder,
        place.deadline,
    )
    return model.model.vision_tower.cpu() if done else None


def train_joined(
    recipe: Recipe,
    model: LlavaOnevisionForConditionalGeneration,
    base: Base,
    place: Place,
) -> bool:
    """Train the projector, then projector and LoRA, in place; whether all steps are done."""
    whole: Any = model
    whole.to(place.device)
    precision, packer = dtype_on(place.device), Packer(base.tokenizer)
    whole.model.language_model.to(precision)
    computing = partial(torch.autocast, place.device.split(":")[0], precision)
    if precision == torch.float32:
        computing = nullcontext
    trained = projector_of(model)
    align = _task(place, model, packer, recipe.align, trained, computing)
    if not fit(recipe.align, align, place.folder, place.deadline):
        return False
    trained |= add_lora(model)
    joining = _task(place, model, packer, recipe.join, trained, computing)
    return fit(recipe.join, joining, place.folder, place.deadline)


def _task(
    place: Place,
    model: Any,
    packer: Packer,
    stage: Stage,
    trained: dict[str, nn.Parameter],
    computing: Callable[[], AbstractContextManager[Any]],
) -> Task:
    """Let `trained` learn, and nothing else."""
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)

    def loss_of(part: Part) -> Tensor:
        return run(model, packer, part)[0]

    check = partial(accuracy, model, packer, stage.lessons)
    return Task(trained, loss_of, check, computing, place.workers)


def dtype_on(device: str) -> torch.dtype:
    """bfloat16 where the machine multiplies it faster than float32."""
    if device.startswith("cuda"):
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    fast = able.get("amx_bf16") or able.get("avx512_bf16")
    return torch.bfloat16 if fast else torch.float32


def deadline_in(minutes: float | None) -> float:
    """The time `minutes` from now; never, without any."""
    return float("inf") if minutes is None else time.monotonic() + 60 * minutes
