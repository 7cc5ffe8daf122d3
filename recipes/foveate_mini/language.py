"""Stage B: teach the projector and the language model to answer, on the frozen tower's features.

Three savings make a step cheap. In the first half most background tokens are left out, so that
there is little to search and looking things up is learnt early. After that, in most steps a random
share of all visual tokens is left out (as FLIP and PatchDropout do). And in half of all steps the
visual tokens leave after one of the later layers (as PyramidDrop trains). The last two also make
the model fit for fewer visual tokens later; none is a reduction of this library's. The last steps
see everything half of the time.

Two helps name a step of thought that no answer would reward by itself: the answer is also asked
for while the question is read (`early_loss`), and visual tokens for their part in the scene
(`roles`).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from foveate.scenes import make
from foveate.scenes.sample import Scene
from recipes.foveate_mini import checkpoint
from recipes.foveate_mini.packing import Packer, answer_loss, early_loss, forward, turn_hits
from recipes.foveate_mini.plan import TASK, LanguageRecipe, StepPlan, ask, plan_step, samples_of
from recipes.foveate_mini.progress import Progress
from recipes.foveate_mini.roles import role_loss, role_targets
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate
from recipes.foveate_mini.tower import features_of, pixels_of
from recipes.foveate_mini.visual import choose, shown, visual_tokens

ENCODE_AT_ONCE = 64
EARLY_WEIGHT = 0.5
ROLE_WEIGHT = 0.3


def encode(model: LlavaOnevisionForConditionalGeneration, scenes: Sequence[Scene]) -> Tensor:
    """Tower features of every frame of every scene, (frames, N, D); equal frames encoded once."""
    return encode_frames(model, [frame for scene in scenes for frame in scene.frames()])


def encode_frames(
    model: LlavaOnevisionForConditionalGeneration, frames: Sequence[np.ndarray]
) -> Tensor:
    """Tower features of RGB frames, (frames, N, D); equal frames encoded once."""
    pixels, places, row = [], {}, []
    for frame in frames:
        place = places.setdefault(frame.tobytes(), len(pixels))
        if place == len(pixels):
            pixels.append(frame)
        row.append(place)
    tower = model.model.vision_tower
    parts = pixels_of(np.stack(pixels)).to(tower.device).split(ENCODE_AT_ONCE)
    return torch.cat([features_of(tower, part) for part in parts])[row]


def step_loss(
    model: LlavaOnevisionForConditionalGeneration,
    packer: Packer,
    step: int,
    recipe: LanguageRecipe,
) -> tuple[Tensor, StepPlan]:
    """The loss of one step, and what the step did."""
    plan = plan_step(step, recipe, len(model.model.language_model.layers))
    samples = samples_of(plan, step, recipe)
    turns = packer.pack(ask(samples, recipe.turns, recipe.seed))
    with torch.no_grad():
        features = encode(model, samples)
    visual = visual_tokens(model, features, len(samples), is_video=plan.task == "video")
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    always = shown(samples) if plan.all_shown else None
    kept = choose((visual.shape[0], visual.shape[1]), plan.keep, generator, always)
    visual = visual.take_along_dim(kept[..., None], dim=1)
    states, halfway = forward(model, packer.header, visual, turns, plan.drop_after)
    loss = answer_loss(model, states, turns)[0]
    if step < recipe.early_until * recipe.steps:
        loss = loss + EARLY_WEIGHT * early_loss(model, states, turns)
    if step < recipe.roles_until * recipe.steps:
        targets = role_targets(samples, packer.tokenizer).take_along_dim(kept, dim=1)
        loss = loss + ROLE_WEIGHT * role_loss(model, halfway, targets)
    return loss, plan


@torch.no_grad()
def accuracy(
    model: LlavaOnevisionForConditionalGeneration,
    packer: Packer,
    size: int = 48,
    drop_after: int | None = None,
) -> dict[str, float]:
    """Exact match a family on validation samples, each answer token after the right ones."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for task in TASK.values():
        for first in range(0, size, 24):
            length = (4, 8, 16)[first // 24 % 3] if task == "video" else None
            samples = [make(task, "val", first + i, length=length) for i in range(24)]
            asked = ask(samples, 8, seed=0)
            turns = packer.pack(asked)
            visual = visual_tokens(
                model, encode(model, samples), len(samples), is_video=task == "video"
            )
            states, _ = forward(model, packer.header, visual, turns, drop_after)
            right = turn_hits(turns, answer_loss(model, states, turns)[1])
            for questions, row in zip(asked, right, strict=True):
                for question, hit in zip(questions, row, strict=True):
                    hits[f"{task}/{question.family}"].append(hit)
                    hits[task].append(hit)
    return {name: round(float(np.mean(values)), 3) for name, values in sorted(hits.items())}


def train(
    model: LlavaOnevisionForConditionalGeneration,
    packer: Packer,
    recipe: LanguageRecipe,
    folder: Path,
    after_check: Callable[[int], None] = lambda step: None,
) -> float:
    """Train projector and language model in place; picks up where a killed run in `folder` stopped.

    Args:
        model: the whole model; its tower stays as it is.
        packer: of the model's tokenizer.
        recipe: how to train.
        folder: where checkpoint and log are.
        after_check: called with the step after each validation, e.g. to export.

    Returns:
        seconds of training, over all processes that worked on it.
    """
    path = folder / "language.pt"
    trained = [p for n, p in model.named_parameters() if "vision_tower" not in n]
    optimizer = adamw(trained, recipe.weight_decay)
    first_step, seconds_before = 0, 0.0
    if (state := checkpoint.load(path)) is not None:
        model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        first_step, seconds_before = state["step"], state["seconds"]
    progress = Progress("language", folder / "log.jsonl", first_step, recipe.steps, seconds_before)
    losses: dict[str, list[float]] = defaultdict(list)
    for step in range(first_step, recipe.steps):
        set_learning_rate(optimizer, learning_rate(step, recipe.steps, recipe.peak, recipe.warmup))
        loss, plan = step_loss(model, packer, step, recipe)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses[plan.task].append(loss.item())
        done = step + 1
        if done % recipe.report_every == 0:
            means = {task: round(float(np.mean(values)), 3) for task, values in losses.items()}
            progress.report(done, **means)
            losses.clear()
        if done % recipe.save_every == 0 or done == recipe.steps:
            state = {
                "weights": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "seconds": progress.seconds,
            }
            checkpoint.save(path, state)
        if done % recipe.check_every == 0 or done == recipe.steps:
            progress.report(done, val=accuracy(model, packer))
            after_check(done)
    return progress.seconds if first_step < recipe.steps else seconds_before
