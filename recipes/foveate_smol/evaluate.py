"""How often the short answer is found in the sentence that the model says, by stock `generate`.

Found means: as whole words or a whole number, in any case of letters ("red" in "The 7 is red.", but
4 not in 4.50). A sentence that says more than one thing could be right by luck, so we also count how
often the whole sentence is the expected one; that is the lower bound.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from foveate.scenes import DRAWN, TASKS, one_question, scene
from foveate.scenes.sample import SIZE, Question, Scene
from recipes.foveate_mini.evaluate import answers

BATCH = 20
LONGEST = 48


@dataclass(frozen=True)
class Score:
    """Of `n` questions, how many answers hold the right one, and how many are the whole sentence."""

    n: int
    found: int
    whole: int


def is_found(answer: str, said: str) -> bool:
    """Whether a short answer stands in a text, not as a part of another word or number."""
    whole = rf"(?<!\w)(?<!\d[.,]){re.escape(answer)}(?!\w)(?![.,]\d)"
    return re.search(whole, said, re.IGNORECASE) is not None


def evaluate(
    model: Any,
    processor: Any,
    split: str,
    n: int,
    report: Callable[[str, Score], None] = lambda task, score: None,
) -> dict[str, Score]:
    """Ask `n` questions of each of the seven tasks.

    Args:
        model: a vision-language model.
        processor: of the model.
        split: "val" or "test".
        n: questions a task.
        report: told each task's score when it is there.
    """
    scores = {}
    for task in (*TASKS, *DRAWN):
        scores[task] = _task(model, processor, [scene(task, split, i, size=SIZE) for i in range(n)])
        report(task, scores[task])
    return scores


def _task(model: Any, processor: Any, scenes: list[Scene]) -> Score:
    groups = defaultdict(list)  # of one number of frames, for the processor stacks them
    for shown in scenes:
        groups[shown.length].append((shown, one_question(shown)))
    pairs: list[tuple[Question, str]] = []
    for group in groups.values():
        for first in range(0, len(group), BATCH):
            batch = group[first : first + BATCH]
            asked = [(shown.images(), question.text) for shown, question in batch]
            video = batch[0][0].is_video
            texts = answers(model, processor, asked, is_video=video, longest=LONGEST)
            pairs += [(question, said) for (_, question), said in zip(batch, texts, strict=True)]
    return Score(
        n=len(pairs),
        found=sum(is_found(question.answer, said) for question, said in pairs),
        whole=sum(question.sentence == said for question, said in pairs),
    )


def as_record(scores: dict[str, Score], split: str) -> dict[str, Any]:
    """Scores to be written down, with how they were judged."""
    return {
        "split": split,
        "judged": "found: the short answer stands in the sentence; whole: the sentence is the expected",
        "scores": {task: asdict(score) for task, score in scores.items()},
    }
