"""Between the stages: the projector learns to name patches in the language model's own words.

Each patch that shows a character should read, through the (tied) output embeddings, as that
character's token and its colour's. Then the "7" of a question and a patch that shows a 7 are alike
from the first step of stage B, which makes looking things up early to learn. A minute's work.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from foveate.scenes import make
from foveate.scenes.sample import CHARACTERS, COLOUR_NAMES
from recipes.foveate_mini import checkpoint
from recipes.foveate_mini.progress import Progress
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate
from recipes.foveate_mini.tower import features_of, frames_and_labels


@dataclass(frozen=True)
class AlignRecipe:
    """How the projector is aligned."""

    steps: int = 150
    batch: int = 32
    peak: float = 3e-3
    warmup: int = 20
    weight_decay: float = 0.01
    report_every: int = 50
    seed: int = 2


def names(
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[Float[Tensor, "characters V"], Float[Tensor, "colours V"]]:
    """For each character and each colour, how likely which token is meant.

    A colour has two tokens, with a space before it and without; they share its half.
    """
    tables = []
    for words in (CHARACTERS, COLOUR_NAMES):
        table = torch.zeros(len(words), len(tokenizer))
        for place, word in enumerate(words):
            spellings = [
                tokenizer(text, add_special_tokens=False)["input_ids"]
                for text in (word, " " + word)
            ]
            single = {ids[0] for ids in spellings if len(ids) == 1}
            table[place, list(single)] = 0.5 / len(single)
        tables.append(table)
    return tables[0], tables[1]


def loss_of(
    model: LlavaOnevisionForConditionalGeneration,
    tables: tuple[Tensor, Tensor],
    step: int,
    recipe: AlignRecipe,
) -> Float[Tensor, ""]:
    """Cross entropy between what shown patches read as and what they are."""
    indices = range(step * recipe.batch, (step + 1) * recipe.batch)
    tasks = ("reasoning", "ocr")
    samples = [make(tasks[index % 2], "train", index, seed=recipe.seed) for index in indices]
    pixels, labels = frames_and_labels(samples, [0] * len(samples))
    labels = {name: column.to(model.device) for name, column in labels.items()}
    with torch.no_grad():
        features = features_of(model.model.vision_tower, pixels.to(model.device))
    shown = labels["character"] > 0
    projected = model.model.multi_modal_projector(features[shown])
    read = model.lm_head(model.model.language_model.norm(projected)).log_softmax(-1)
    character, colour = (labels[name][shown] - 1 for name in ("character", "colour"))
    meant = tables[0][character] + tables[1][colour]
    return -(meant * read).sum(-1).mean()


def train(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    recipe: AlignRecipe,
    folder: Path,
) -> float:
    """Train projector and embeddings in place; short, so a killed run starts again.

    Returns:
        seconds of training.
    """
    path = folder / "align.pt"
    trained = {
        "projector": model.model.multi_modal_projector,
        "embeddings": model.model.language_model.embed_tokens,
        "norm": model.model.language_model.norm,
    }
    if (state := checkpoint.load(path)) is not None:
        for name, module in trained.items():
            module.load_state_dict(state[name])
        return state["seconds"]
    parameters = [p for module in trained.values() for p in module.parameters()]
    optimizer = adamw(parameters, recipe.weight_decay)
    characters, colours = names(tokenizer)
    tables = characters.to(model.device), colours.to(model.device)
    progress = Progress("align", folder / "log.jsonl", 0, recipe.steps)
    losses = []
    for step in range(recipe.steps):
        set_learning_rate(optimizer, learning_rate(step, recipe.steps, recipe.peak, recipe.warmup))
        loss = loss_of(model, tables, step, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % recipe.report_every == 0:
            progress.report(step + 1, loss=round(float(np.mean(losses)), 3))
            losses.clear()
    weights = {name: module.state_dict() for name, module in trained.items()}
    checkpoint.save(path, weights | {"seconds": progress.seconds})
    return progress.seconds
