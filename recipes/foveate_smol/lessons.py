"""What a step shows and asks, drawn from its number alone, so that a resumed run is the same.

A picture reaches the language model twice, as the base view and as one tile, and at this size both
show the same pixels. So most steps leave out one of the two: nothing is lost but half of the cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from foveate.scenes import DRAWN, TASKS, make, scene
from foveate.scenes.sample import GRID, SIZE, Question, Scene
from recipes.foveate_mini.language import encode_frames
from recipes.foveate_mini.packing import Packer, answer_loss, forward, turn_hits
from recipes.foveate_mini.plan import ask
from recipes.foveate_mini.visual import visual_tokens

# Pictures in a row: print takes longer to learn than digits, which the tower knows already.
ROTA = (
    "documents", "charts", "screens", "texture", "ocr", "documents",
    "charts", "screens", "texture", "reasoning", "documents", "ocr",
)  # fmt: skip
CLIPS_EVERY = 6
LENGTHS = (4, 5, 6, 7, 8)
BOTH_VIEWS = 1 / 3
BASE_VIEW = GRID * GRID


@dataclass(frozen=True)
class Lessons:
    """What a stage shows.

    Attributes:
        batch: pictures or clips of a step.
        at_once: how many of them go through the model together; fewer take less memory.
        turns: questions a picture, at most.
        sentences: whether answers are sentences.
        whole_from: the step from which pictures are always shown in both views.
        seed: of the training split.
    """

    batch: int
    at_once: int
    turns: int
    sentences: bool
    whole_from: int
    seed: int


@dataclass(frozen=True)
class Part:
    """A part of a step: what goes through the model together.

    Attributes:
        clips: RGB frames of each clip, of pictures one.
        asked: questions about each, with their answers.
        is_video: whether these are clips.
        views: which visual tokens of a picture are shown.
    """

    clips: tuple[UInt8[np.ndarray, "frames height width 3"], ...]
    asked: tuple[tuple[Question, ...], ...]
    is_video: bool
    views: slice


def parts_of(step: int, lessons: Lessons) -> list[Part]:
    """What a step shows."""
    rng = np.random.default_rng([lessons.seed, step, 4])
    numbers = range(step * lessons.batch, (step + 1) * lessons.batch)
    if step % CLIPS_EVERY == CLIPS_EVERY - 1:
        length = LENGTHS[rng.integers(len(LENGTHS))]
        scenes = [make("video", "train", n, lessons.seed, length) for n in numbers]
    else:
        scenes = [scene(ROTA[n % len(ROTA)], "train", n, lessons.seed, SIZE) for n in numbers]
    views = slice(None) if scenes[0].is_video else _views(step, lessons, rng)
    return [
        part(scenes[first : first + lessons.at_once], lessons, views)
        for first in range(0, lessons.batch, lessons.at_once)
    ]


def _views(step: int, lessons: Lessons, rng: np.random.Generator) -> slice:
    if step >= lessons.whole_from or rng.random() < BOTH_VIEWS:
        return slice(None)
    return slice(None, BASE_VIEW) if rng.random() < 0.5 else slice(BASE_VIEW, None)


def part(scenes: Sequence[Scene], lessons: Lessons, views: slice = slice(None)) -> Part:
    """Scenes of one shape, with some of their questions."""
    asked = ask(scenes, lessons.turns, lessons.seed)
    if lessons.sentences:
        asked = [[spoken(question) for question in row] for row in asked]
    clips = tuple(one.frames() for one in scenes)
    return Part(clips, tuple(map(tuple, asked)), scenes[0].is_video, views)


def spoken(question: Question) -> Question:
    """The question, answered in a sentence."""
    return replace(question, answer=question.sentence or question.answer)


def run(
    model: LlavaOnevisionForConditionalGeneration, packer: Packer, shown: Part
) -> tuple[Float[Tensor, ""], list[list[bool]]]:
    """The loss of a part, and which of its questions are answered right, word after right word.

    The tower learns where its weights ask for gradients.
    """
    device = model.device
    turns = packer.pack([list(row) for row in shown.asked]).to(device)
    learns = torch.is_grad_enabled() and next(model.model.vision_tower.parameters()).requires_grad
    with torch.set_grad_enabled(learns):
        features = encode_frames(model, [frame for clip in shown.clips for frame in clip])
    whole = visual_tokens(model, features, len(shown.clips), is_video=shown.is_video)
    visual = whole[:, shown.views].to(model.model.language_model.embed_tokens.weight.dtype)
    states, _ = forward(model, packer.header, visual, turns)
    loss, right = answer_loss(model, states, turns)
    return loss, turn_hits(turns, right)


@torch.no_grad()
def accuracy(
    model: LlavaOnevisionForConditionalGeneration, packer: Packer, lessons: Lessons, size: int = 8
) -> dict[str, float]:
    """Share of validation questions answered right a task, each word after the right ones."""
    shares = {}
    for task in (*TASKS, *DRAWN):
        hits: list[bool] = []
        for first in range(0, size, lessons.at_once):
            numbers = range(first, min(first + lessons.at_once, size))
            if task == "video":
                scenes = [make(task, "val", n, length=LENGTHS[0]) for n in numbers]
            else:
                scenes = [scene(task, "val", n, size=SIZE) for n in numbers]
            rows = run(model, packer, part(scenes, lessons))[1]
            hits += [hit for row in rows for hit in row]
        shares[task] = round(float(np.mean(hits)), 3)
    return shares
