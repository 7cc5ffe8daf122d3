"""Every size first learns to read all 144 patches; the cells of the study go on from there.

A compressor that is trained together with an LLM that cannot read yet learns to guess from blurred
tokens. So each size is trained once, without a compressor, by foveate-mini's own recipe: the projector
names patches (`align`), then most background is left out until looking things up is learnt. All sizes see
the same pictures and questions in the same order; only the learning rate is each one's own, the best of a
few on short runs, by the loss on validation pictures.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.draw import draw as draw_step
from benchmarks.compressors.features import Pictures
from benchmarks.study.pictures import PATCHES, Helps
from recipes.foveate_mini import checkpoint
from recipes.foveate_mini.packing import Packer, answer_loss, early_loss, forward
from recipes.foveate_mini.progress import Progress
from recipes.foveate_mini.roles import role_loss
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate
from recipes.foveate_mini.visual import choose

EARLY_WEIGHT, ROLE_WEIGHT = 0.5, 0.3  # as foveate-mini's
SAVE_EVERY = 100


@dataclass(frozen=True)
class Pretraining:
    """How a size learns to read.

    Attributes:
        steps: of training.
        pictures: a step.
        questions: of each picture, at most.
        ocr: share of the pictures that show text.
        background_from: share of the steps after which background is kept like anything else.
        most_background: share of the background that is kept before, at most.
        peaks: learning rates that are tried; where the best is an end, others behind it, too.
        tried: steps of a short run that tells which is best.
        warmup: steps.
        weight_decay: of AdamW.
    """

    steps: int = 1500
    pictures: int = 24
    questions: int = 8
    ocr: float = 0.5
    background_from: float = 0.55
    most_background: float = 0.2
    peaks: list[float] = field(default_factory=lambda: [2e-3, 4e-3, 8e-3])
    tried: int = 250
    warmup: int = 60
    weight_decay: float = 0.02


class Reader:
    """A model that sees every patch, under training."""

    def __init__(
        self, model: Any, packer: Packer, pictures: Pictures, helps: Helps, recipe: Pretraining
    ) -> None:
        self.model, self.packer, self.recipe = model, packer, recipe
        self.pictures, self.helps = pictures, helps
        self.drawing = RivalRecipe(
            steps=recipe.steps,
            first_stage=0.0,
            pictures=recipe.pictures,
            questions=recipe.questions,
            ocr=recipe.ocr,
        )

    def visual(self, pictures: Pictures, rows: list[int]) -> Tensor:
        """(B, 144, D) of the LLM's width."""
        return self.model.model.multi_modal_projector(pictures.batch(rows)[-1])

    def loss(self, step: int, seed: int) -> Tensor:
        """The loss of one step, with the helps of foveate-mini's recipe."""
        rows, asked = draw_step(self.pictures, self.drawing, seed, step)
        rng = np.random.default_rng([seed, step, 6])
        sees_all = step >= self.recipe.background_from * self.recipe.steps
        always = None if sees_all else self.helps.shown[rows]
        keep = 1.0 if sees_all else float(rng.uniform(0.0, self.recipe.most_background))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        visual = self.visual(self.pictures, rows)
        kept = choose((len(rows), PATCHES), keep, generator, always).to(visual.device)
        visual = visual.take_along_dim(kept[..., None], dim=1)
        turns = self.packer.pack(asked).to(visual.device)
        states, halfway = forward(self.model, self.packer.header, visual, turns)
        loss = answer_loss(self.model, states, turns)[0]
        if step < 0.5 * self.recipe.steps:
            loss = loss + EARLY_WEIGHT * early_loss(self.model, states, turns)
        if step < 0.9 * self.recipe.steps:
            targets = self.helps.roles[rows].to(kept.device).take_along_dim(kept, dim=1)
            loss = loss + ROLE_WEIGHT * role_loss(self.model, halfway, targets)
        return loss

    @torch.no_grad()
    def loss_on(self, pictures: Pictures, size: int = 50) -> float:
        """Mean loss of the answers to some pictures, which see all patches."""
        losses = []
        for first in range(0, len(pictures.questions), size):
            rows = list(range(first, min(first + size, len(pictures.questions))))
            visual = self.visual(pictures, rows)
            turns = self.packer.pack([pictures.questions[row] for row in rows]).to(visual.device)
            states, _ = forward(self.model, self.packer.header, visual, turns)
            losses.append(answer_loss(self.model, states, turns)[0].item())
        return float(np.mean(losses))


def train(
    reader: Reader, peak: float, steps: int, seed: int, progress: Progress, path: Path | None
) -> None:
    """Train in place for the first `steps` steps of the schedule; goes on from `path` after a kill.

    Args:
        reader: what is trained.
        peak: learning rate.
        steps: how many; a short run ends its schedule early.
        seed: of pictures and questions.
        progress: where it is told.
        path: of the checkpoints; None for none.
    """
    model, recipe = reader.model, reader.recipe
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = adamw(trained, recipe.weight_decay)
    first = 0
    if path is not None and (state := checkpoint.load(path)) is not None:
        model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    losses: list[float] = []
    for step in range(first, steps):
        set_learning_rate(optimizer, learning_rate(step, steps, peak, recipe.warmup))
        loss = reader.loss(step * recipe.steps // steps, seed)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            progress.report(step + 1, loss=round(float(np.mean(losses)), 3))
            losses.clear()
            if path is not None:
                state = {
                    "weights": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                }
                checkpoint.save(path, state)
