"""What each step of stage B does, drawn from its number alone, so that a resumed run is the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveate.scenes import make
from foveate.scenes.sample import Question, Sample, Scene

# Tasks of twenty steps in a row; a step has one task, so that its shapes are equal.
ROTA = tuple("vrovovrvovrvovrvovro")
TASK = {"r": "reasoning", "o": "ocr", "v": "video"}
LENGTHS, LENGTH_SHARES = (4, 5, 6, 7, 8, 12, 16), (0.25, 0.15, 0.2, 0.1, 0.2, 0.06, 0.04)
# A lower share would often hide the answer: a letter covers two patches, a needle few frames.
LOWEST_KEEP = {"reasoning": 0.2, "ocr": 0.5, "video": 0.4}
MOST_BACKGROUND = 0.2
# Share of the steps with visual tokens left out, before and after `whole_from`; with all of them leaving.
THINNED, THINNED_LATE, LEAVING = 0.8, 0.5, 0.5


@dataclass(frozen=True)
class LanguageRecipe:
    """How stage B trains.

    Attributes:
        batch: pictures a step; twice as many pictures of text and clips while background is left
            out, for those steps are short.
        turns: questions a picture, at most.
        background_from: share of the steps after which background is kept like anything else.
        early_until: share of the steps in which answers are also asked for early.
        roles_until: share of the steps in which visual tokens are also asked for their roles.
        whole_from: share of the steps after which all visual tokens are kept more often.
    """

    steps: int = 2600
    batch: int = 16
    turns: int = 8
    peak: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.02
    background_from: float = 0.55
    early_until: float = 0.5
    roles_until: float = 0.9
    whole_from: float = 0.8
    save_every: int = 100
    report_every: int = 50
    check_every: int = 400
    seed: int = 1


@dataclass(frozen=True)
class StepPlan:
    """What one step does, drawn from its number alone.

    Attributes:
        length: frames of its clips; None for pictures.
        keep: share of visual tokens that stay; of the background alone in the first steps.
        all_shown: whether tokens that show a character all stay.
        drop_after: layer after which the visual tokens leave; None = never.
    """

    task: str
    length: int | None
    keep: float
    all_shown: bool
    drop_after: int | None


def plan_step(step: int, recipe: LanguageRecipe, layers: int) -> StepPlan:
    """The plan of `step`."""
    rng = np.random.default_rng([recipe.seed, step, 2])
    task = TASK[ROTA[step % len(ROTA)]]
    length = int(rng.choice(LENGTHS, p=LENGTH_SHARES)) if task == "video" else None
    all_shown = step < recipe.background_from * recipe.steps
    thinned = THINNED_LATE if step >= recipe.whole_from * recipe.steps else THINNED
    keep = float(rng.uniform(LOWEST_KEEP[task], 1.0)) if rng.random() < thinned else 1.0
    if all_shown:
        keep = float(rng.uniform(0.0, MOST_BACKGROUND))
    leaves = int(rng.integers(layers // 2, layers)) if rng.random() < LEAVING else None
    return StepPlan(task, length, keep, all_shown, leaves)


def samples_of(plan: StepPlan, step: int, recipe: LanguageRecipe) -> list[Sample]:
    """The training samples of `step`."""
    size = recipe.batch * (2 if plan.all_shown and plan.task != "reasoning" else 1)
    indices = range(step * size, (step + 1) * size)
    return [make(plan.task, "train", i, seed=recipe.seed, length=plan.length) for i in indices]


def ask(samples: Sequence[Scene], limit: int, seed: int) -> list[list[Question]]:
    """At most `limit` questions of each sample, in random order."""
    asked = []
    for sample in samples:
        rng = np.random.default_rng([seed, sample.index, 3])
        questions = sample.ask(rng)
        asked.append([questions[place] for place in rng.permutation(len(questions))[:limit]])
    return asked
