"""Stage A: teach the vision tower what and where every character is, patch by patch.

We draw the scenes, so we know for every patch which character it shows, in which colour, and the
character's rank from the left and from the top. Linear heads on the tower's last layer learn to
say so; the heads are thrown away after. This is what makes the language model's part easy:
counting, leftmost, rightmost and reading order can be read off a patch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from foveate.scenes import make
from foveate.scenes.sample import CHARACTERS, COLOUR_NAMES, GRID, Sample
from recipes.foveate_mini import checkpoint
from recipes.foveate_mini.progress import Progress
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate

CLASSES = {
    "character": 1 + len(CHARACTERS),
    "colour": 1 + len(COLOUR_NAMES),
    "rank_x": 9,
    "rank_y": 6,
    "column": GRID,
    "row": GRID,
}
WEIGHTS = {
    "character": 1.0, "colour": 0.5, "rank_x": 0.5, "rank_y": 0.3, "column": 0.05, "row": 0.05,
}  # fmt: skip
# Nine patches in ten are background: they count less, or that is all that is learnt at first.
BACKGROUND_WEIGHT = 0.1
# Samples of a batch of 16, by task.
MIX = ("reasoning",) * 7 + ("ocr",) * 6 + ("video",) * 3


@dataclass(frozen=True)
class TowerRecipe:
    """How stage A trains."""

    steps: int = 3000
    batch: int = 48
    peak: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    save_every: int = 200
    report_every: int = 100
    seed: int = 0


class DenseHeads(nn.Module):
    """A layer norm and a linear layer that name every patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(CLASSES.values()))

    def forward(self, features: Float[Tensor, "B N D"]) -> dict[str, Float[Tensor, "B N classes"]]:
        """Logits of each kind of label."""
        logits = self.linear(self.norm(features)).split(list(CLASSES.values()), dim=-1)
        return dict(zip(CLASSES, logits, strict=True))


def pixels_of(frames: np.ndarray) -> Float[Tensor, "B 3 144 144"]:
    """Frames of bytes, channels last, as the processor would hand them to the tower."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def features_of(tower: nn.Module, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
    """What the tower hands to the projector: its last layer, before the final norm."""
    return tower(pixels, output_hidden_states=True).hidden_states[-1]


def batch(
    split: str, step: int, size: int, seed: int
) -> tuple[Float[Tensor, "B 3 144 144"], dict[str, Int[Tensor, "B 144"]]]:
    """Pictures and labels of `step`; a clip gives one frame."""
    samples, numbers = [], []
    for place in range(size):
        index = step * size + place
        sample = make(MIX[place % len(MIX)], split, index, seed=seed)
        samples.append(sample)
        numbers.append(index % len(sample.marks))
    return frames_and_labels(samples, numbers)


def frames_and_labels(
    samples: list[Sample], numbers: list[int]
) -> tuple[Float[Tensor, "B 3 144 144"], dict[str, Int[Tensor, "B 144"]]]:
    """Frame `numbers[i]` of each sample, with its labels and every patch's own column and row."""
    pairs = list(zip(samples, numbers, strict=True))
    frames = np.stack([sample.frame(number) for sample, number in pairs])
    drawn = [sample.labels(number) for sample, number in pairs]
    labels = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    place = torch.arange(GRID * GRID).expand(len(pairs), -1)
    return pixels_of(frames), labels | {"column": place % GRID, "row": place // GRID}


def loss_of(
    logits: dict[str, Float[Tensor, "B N classes"]], labels: dict[str, Int[Tensor, "B N"]]
) -> Float[Tensor, ""]:
    """Weighted mean cross entropy over patches and kinds of label."""
    shown = labels["character"] > 0
    weight = torch.where(shown, 1.0, BACKGROUND_WEIGHT)
    total = torch.zeros(())
    for name, share in WEIGHTS.items():
        losses = nn.functional.cross_entropy(
            logits[name].flatten(0, 1), labels[name].flatten(), ignore_index=-1, reduction="none"
        )
        total = total + share * (losses * weight.flatten()).sum() / weight.sum()
    return total


@torch.no_grad()
def accuracy(tower: nn.Module, heads: DenseHeads, size: int = 256) -> dict[str, float]:
    """Share of right labels on validation patches that show a character, and on background."""
    right: dict[str, list[Tensor]] = {
        name: [] for name in ("digit", "letter", *CLASSES, "background")
    }
    for step in range(max(size // 64, 1)):
        pixels, labels = batch("val", step, min(size, 64), seed=0)
        logits = heads(features_of(tower, pixels))
        shown = labels["character"] > 0
        hit = {name: logits[name].argmax(-1) == labels[name] for name in CLASSES}
        right["digit"].append(hit["character"][shown & (labels["character"] <= 10)])
        right["letter"].append(hit["character"][labels["character"] > 10])
        right["background"].append(hit["character"][~shown])
        for name in CLASSES:
            right[name].append(hit[name][shown & (labels[name] >= 0)])
    return {name: round(torch.cat(hits).float().mean().item(), 4) for name, hits in right.items()}


def train(tower: Any, recipe: TowerRecipe, folder: Path) -> float:
    """Train `tower` in place; picks up where a killed run in `folder` stopped.

    Returns:
        seconds of training, over all processes that worked on it.
    """
    path = folder / "tower.pt"
    torch.manual_seed(recipe.seed)
    heads = DenseHeads(tower.config.hidden_size)
    both = nn.ModuleDict({"tower": tower, "heads": heads})
    # The final norm is not used: the projector takes the layer before it.
    trained = [p for name, p in both.named_parameters() if "post_layernorm" not in name]
    optimizer = adamw(trained, recipe.weight_decay)
    first_step, seconds_before = 0, 0.0
    if (state := checkpoint.load(path)) is not None:
        both.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        first_step, seconds_before = state["step"], state["seconds"]
    progress = Progress("tower", folder / "log.jsonl", first_step, recipe.steps, seconds_before)
    for step in range(first_step, recipe.steps):
        set_learning_rate(optimizer, learning_rate(step, recipe.steps, recipe.peak, recipe.warmup))
        pixels, labels = batch("train", step, recipe.batch, recipe.seed)
        loss = loss_of(heads(features_of(tower, pixels)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        done = step + 1
        if done % recipe.report_every == 0:
            measured = accuracy(tower, heads) if done % (4 * recipe.report_every) == 0 else {}
            progress.report(done, loss=round(loss.item(), 4), **measured)
        if done % recipe.save_every == 0 or done == recipe.steps:
            state = {
                "weights": both.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "seconds": progress.seconds,
            }
            checkpoint.save(path, state)
    return progress.seconds if first_step < recipe.steps else seconds_before
