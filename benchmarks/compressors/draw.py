"""Which pictures and questions each step sees, drawn from its number alone: the same for all rivals."""

from dataclasses import dataclass

import numpy as np

from benchmarks.compressors.features import Pictures
from foveate.scenes.sample import Question

LOOKUPS = ("colour", "digit")  # what is the colour of this digit, which digit has this colour


@dataclass(frozen=True)
class RivalRecipe:
    """How every cell is trained: first where the compressor looks, then all of it, projector and LLM.

    A compressor must learn where to look while all that comes behind still says so: trained from the
    start, it learns to guess from blurred tokens, and then no longer tells what would be better. So the
    first stage trains the weights of `LearnedCompressor.searching` alone, and asks `LOOKUPS` alone, the
    questions that need them. A compressor without weights sees the same questions and goes straight to
    the second stage, and so trains projector and LLM for longer.

    Attributes:
        steps: of both stages.
        first_stage: share of the steps in the first.
        pictures: a step.
        questions: of each picture, at most.
        ocr: share of the pictures that show text, in the second stage.
        lookups: how much likelier than any other question one of `LOOKUPS` is asked, in the second stage.
        peak: highest learning rate of the compressor.
        peak_known: highest learning rate of projector and LLM, which were trained before.
        warmup: steps until the highest rates are reached.
        weight_decay: of AdamW.
    """

    steps: int = 1000
    first_stage: float = 0.4
    pictures: int = 16
    questions: int = 4
    ocr: float = 0.125
    lookups: float = 2.0
    peak: float = 5e-4
    peak_known: float = 1e-3
    warmup: int = 20
    weight_decay: float = 0.02

    @property
    def alone(self) -> int:
        """Steps of the first stage."""
        return int(self.first_stage * self.steps)


def draw(
    pictures: Pictures, recipe: RivalRecipe, seed: int, step: int
) -> tuple[list[int], list[list[Question]]]:
    """The pictures of a step, and some questions of each, no question twice."""
    rng = np.random.default_rng([seed, step, 5])
    first = step < recipe.alone
    texts = 0 if first else round(recipe.ocr * recipe.pictures)
    rows: list[int] = []
    for task, count in (("reasoning", recipe.pictures - texts), ("ocr", texts)):
        rows += rng.choice(pictures.of(task), count, replace=False).tolist()
    asked = []
    for row in rows:
        pool = [one for one in pictures.questions[row] if not first or one.family in LOOKUPS]
        shares = np.array([recipe.lookups if one.family in LOOKUPS else 1.0 for one in pool])
        count = min(recipe.questions, len(pool))
        picked = rng.choice(len(pool), count, replace=False, p=shares / shares.sum())
        asked.append([pool[place] for place in picked])
    return rows, asked
