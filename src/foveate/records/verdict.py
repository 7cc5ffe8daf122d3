"""The verdict: is a method better than a baseline at the same share of tokens?

A difference whose interval contains 0 is called not distinguishable. Comparisons are not corrected for
their number: of many at 95 %, some will be wrong.
"""

from dataclasses import dataclass
from typing import Any

from foveate.records.intervals import Difference, mean_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import Records, Setting


@dataclass(frozen=True)
class Comparison:
    """A method against a baseline at the same share, on the same questions.

    Attributes:
        baseline: its name.
        word: its name in sentences.
        difference: of the mean accuracy over the tasks.
        flops_ratio: LLM FLOPs of the method over the baseline's.
        n: questions that both answered.
    """

    baseline: str
    word: str
    difference: Difference
    flops_ratio: float
    n: int

    @property
    def relation(self) -> str:
        """The result in words: better than, worse than, not distinguishable from."""
        return _relation(self.difference)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return f"{self.relation} {self.word}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "baseline": self.baseline,
            "difference": vars(self.difference),
            "flops_ratio": self.flops_ratio,
            "n": self.n,
            "verdict": self.sentence,
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Comparison":
        """What `to_dict` made."""
        difference = Difference(**told["difference"])
        word = told["verdict"].removeprefix(_relation(difference)).lstrip()
        return cls(told["baseline"], word, difference, told["flops_ratio"], told["n"])


def _relation(difference: Difference) -> str:
    if difference.low > 0:
        return "better than"
    return "worse than" if difference.high < 0 else "not distinguishable from"


def against_baselines(
    records: Records, tasks: list[str], setting: Setting
) -> dict[str, Comparison]:
    """Compare a setting with every other baseline that was measured at its share.

    Args:
        records: of the run.
        tasks: those over whose mean it is judged.
        setting: method and share.
    """
    method, budget = setting
    comparisons = {}
    for name, word in records.baselines.items():
        plain = (name, budget)
        shared = {task: records.common(task, setting, plain) for task in tasks}
        if name == method or method == UNREDUCED or not all(shared.values()):
            continue
        pairs, mine, theirs = [], 0.0, 0.0
        for task, indices in shared.items():
            ours, base = records.cells[task][setting], records.cells[task][plain]
            pairs.append((base.scores(indices), ours.scores(indices)))
            mine += ours.mean("llm_flops", indices) or 0.0
            theirs += base.mean("llm_flops", indices) or 0.0
        count = sum(map(len, shared.values()))
        comparisons[name] = Comparison(name, word, mean_difference(pairs), mine / theirs, count)
    return comparisons
