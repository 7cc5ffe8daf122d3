"""One cell: a compressor, projector and LLM trained on the same questions as all others, then asked."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.compressors.draw import RivalRecipe, draw
from benchmarks.compressors.features import Pictures
from foveate.models.compressed import CompressedForConditionalGeneration, with_compressor
from foveate.models.compressed.question import question_vectors
from foveate.scenes.sample import Question
from recipes.foveate_mini.packing import IGNORED, Packer, answer_loss, forward, turn_hits
from recipes.foveate_mini.schedule import adamw, learning_rate, set_learning_rate

COUNTS = (36, 16, 4, 1)
KERNELS = {144: 1, 36: 2, 16: 3, 9: 4, 4: 6, 1: 12}
LEVELS = [1, 2, 3, 4]


@dataclass(frozen=True)
class Rival:
    """How one compressor enters the comparison.

    Attributes:
        compressor: its name.
        query: the question's encoding; "none" for those that do not look at it.
        elastic: whether one training serves every count.
        more: other settings of the compressor.
    """

    compressor: str
    query: str = "none"
    elastic: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, tokens: int) -> dict[str, Any]:
        """Settings of `with_compressor` for one count, or for all where it is elastic."""
        knobs: dict[str, Any] = {"kernel": KERNELS[tokens]}
        if self.compressor == "m3":
            knobs = {"kernels": sorted(KERNELS[count] for count in COUNTS)}
        elif self.compressor == "mqt":
            knobs = {"most": COUNTS[0]}
        return {
            "compressor": {"name": self.compressor, **knobs, **self.more},
            "multi_level_layers": LEVELS,
            "query_encoding": self.query,
        }


# a head of the published modules is 128 wide, as is our tower
CARRY = {"heads": 2, "carry": True}
ASKED = {**CARRY, "contrast": True, "text_gain": 12.0}  # the tower's features are larger than 1
RIVALS = {
    "quecc": Rival("quecc", "embedding", more=ASKED),
    "quecc, llm": Rival("quecc", "llm", more=ASKED),
    "quecc, no question": Rival("quecc", more=CARRY),
    "quecc, as published": Rival("quecc", "llm"),
    "tokenpacker": Rival("tokenpacker", more=CARRY),
    "average-pool": Rival("average-pool"),
    "m3": Rival("m3", elastic=True),
    "mqt": Rival("mqt", elastic=True, more={"heads": 2}),
}


class Trainee:
    """A compressed model under training, and how it is asked.

    Attributes:
        model: it.
        query: the question's encoding.
        frames: how many pictures follow each other before a question.
    """

    def __init__(
        self, stock: Any, packer: Packer, rival: Rival, tokens: int, seed: int, frames: int = 1
    ) -> None:
        torch.manual_seed(seed)
        self.model: CompressedForConditionalGeneration = with_compressor(
            stock, **rival.settings(tokens)
        )
        self.packer, self.query, self.frames = packer, rival.query, frames

    def states(
        self, levels: list[Any], asked: list[list[Question]], tokens: int
    ) -> tuple[Float[Tensor, "B T D"], Any]:
        """Final states of the text of each picture's questions, and that text."""
        visual, asked = self.visual(levels, asked, tokens)
        turns = self.packer.pack(asked).to(visual.device)
        return forward(self.model, self.packer.header, visual, turns)[0], turns  # type: ignore[arg-type]

    def visual(
        self, levels: list[Any], asked: list[list[Question]], tokens: int
    ) -> tuple[Float[Tensor, "R V D"], list[list[Question]]]:
        """Visual tokens as the LLM reads them, row by row, and the questions of each row.

        Where the compressor looks at the question, each question has visual tokens and so a row of its
        own; else the questions of a picture share a row, which changes nothing but the work.
        """
        vectors = None if self.query == "none" else self.ask(asked)
        visual = self.model.model.compress(levels, vectors, tokens)
        visual = visual.unflatten(0, (-1, self.frames)).flatten(1, 2)
        if vectors is not None:
            most = vectors.shape[1]
            held = [
                most * row + place for row, part in enumerate(asked) for place in range(len(part))
            ]
            visual = visual.unflatten(1, (most, -1)).flatten(0, 1)[held]
            asked = [[question] for part in asked for question in part]
        return visual, asked

    def ask(self, asked: list[list[Question]]) -> Float[Tensor, "B q T"]:
        """The vectors of each picture's questions, its last one again where others have more.

        Questions that are the same are read once.
        """
        texts = sorted({question.text for part in asked for question in part})
        rows = self.packer.tokenizer(texts, padding=True, return_tensors="pt")
        language = self.model.model.language_model
        rows = rows.to(language.device)
        made = question_vectors(language, self.query, rows["input_ids"], rows["attention_mask"])
        most = max(map(len, asked))
        filled = [part + part[-1:] * (most - len(part)) for part in asked]
        return made[torch.tensor([[texts.index(one.text) for one in part] for part in filled])]

    def loss(self, levels: list[Any], asked: list[list[Question]], tokens: int) -> Tensor:
        """Cross entropy of the answers, each answer counting once however long it is."""
        states, turns = self.states(levels, asked, tokens)
        written = turns.target != IGNORED
        losses = nn.functional.cross_entropy(
            self.model.lm_head(states[written]), turns.target[written], reduction="none"
        )
        row = written.nonzero()[:, 0]
        _, answer = (row * turns.segment.shape[1] + turns.segment[written]).unique(
            return_inverse=True
        )
        lengths = torch.bincount(answer)
        return (losses / lengths[answer]).sum() / len(lengths)

    @torch.no_grad()
    def right(self, pictures: Pictures, tokens: int, size: int = 50) -> list[bool]:
        """For each question whether its answer, end and all, is what greedy decoding would say.

        Each answer token is predicted behind the right ones; all of them are right exactly when greedy
        decoding writes the answer and stops.
        """
        found: list[bool] = []
        for first in range(0, len(pictures.questions), size):
            rows = list(range(first, min(first + size, len(pictures.questions))))
            asked = [pictures.questions[row] for row in rows]
            states, turns = self.states(pictures.batch(rows), asked, tokens)
            right = answer_loss(self.model, states, turns)[1]  # type: ignore[arg-type]
            hits = turn_hits(turns, right)
            found += [hit for row in hits for hit in row]
        return found


def train(
    trainee: Trainee,
    pictures: Pictures,
    rival: Rival,
    tokens: int,
    recipe: RivalRecipe,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Train in place; which pictures and questions come when depends on seed and step alone.

    Returns:
        processor seconds it took.
    """
    model, began = trainee.model, time.process_time()
    core = model.model
    fresh = list(core.compressor.parameters())
    known = [*core.multi_modal_projector.parameters(), *core.language_model.parameters()]
    optimizer = adamw(fresh, recipe.weight_decay)
    for group in adamw(known, recipe.weight_decay).param_groups:
        optimizer.add_param_group({**group, "scale": recipe.peak_known / recipe.peak})
    alone = recipe.alone if fresh else 0
    first = {id(parameter) for parameter in core.compressor.searching()}
    for step in range(recipe.steps):
        for parameter in (*fresh, *known):
            parameter.requires_grad_(step >= alone or id(parameter) in first)
        set_learning_rate(optimizer, learning_rate(step, recipe.steps, recipe.peak, recipe.warmup))
        rows, questions = draw(pictures, recipe, seed, step)
        levels = pictures.batch(rows)
        optimizer.zero_grad()
        total = 0.0
        counts = counts_of(rival, tokens, step, seed)
        for count in counts:
            loss = trainee.loss(levels, questions, count) / len(counts)
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_([*fresh, *known], 1.0)
        optimizer.step()
        report(step + 1, total)
    model.eval()
    return time.process_time() - began


def counts_of(rival: Rival, tokens: int, step: int, seed: int) -> list[int]:
    """Token counts of one step: M3 takes all its scales, MQT draws one, the others have one."""
    if rival.compressor == "m3":
        return list(COUNTS)
    if rival.compressor == "mqt":
        return [int(np.random.default_rng([seed, step, 4]).choice(COUNTS))]
    return [tokens]
