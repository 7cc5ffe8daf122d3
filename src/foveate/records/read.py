"""Read a run's file: the answers and times of each task, method and share."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from foveate.errors import InputError
from foveate.records.conditions import all_conditions
from foveate.records.journal import UNREDUCED, Journal
from foveate.records.lines import run_lines
from foveate.registry import BASELINE
from foveate.report import STAGES, TO_FIRST_TOKEN

Setting = tuple[str, float]  # method, share
RESIZE = "resize"  # in records, the method that makes the pictures smaller
# names of the baselines in sentences; resizing first
WORDS = {
    RESIZE: "resizing the picture",
    "resize-grid": "resampled features",
    "pool": "average pooling",
    "stride": "every n-th token",
    "random": "random tokens",
}
WHERE = ("device", "gpu", "threads")  # fields of a start that are conditions too
PARTS = tuple(f"{stage}_ms" for stage in STAGES)


@dataclass
class Cell:
    """One method at one share on one task.

    Attributes:
        answers: for each question its line.
        rounds: for each round of the stopwatch its line.
        refused: why it was impossible, None if it was not.
        unanswerable: for each question on which it was impossible, why.
    """

    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: str | None = None
    unanswerable: dict[int, str] = field(default_factory=dict)

    def scores(self, indices: list[int]) -> list[float]:
        """Scores of the answers to these questions."""
        return [self.answers[index]["score"] for index in indices]

    def mean(self, name: str, indices: list[int]) -> float | None:
        """Mean of a count over these questions, None where any lacks it."""
        values = [self.answers[index][name] for index in indices]
        return None if any(value is None for value in values) else fmean(values)

    def first_token_ms(self) -> dict[int, float]:
        """Time up to the first token, round by round."""
        return {
            n: sum(row[f"{stage}_ms"] for stage in TO_FIRST_TOKEN) for n, row in self.rounds.items()
        }

    def parts_ms(self) -> dict[str, float] | None:
        """Median over the rounds of each part, None without a stopwatch."""
        if not self.rounds:
            return None
        return {part: median(row[part] for row in self.rounds.values()) for part in PARTS}


@dataclass
class Records:
    """The contents of a file.

    Attributes:
        path: the file.
        starts: a line for each time the run was started.
        baselines: the baselines among the methods, with their names in sentences.
        lines: for each setting its line, with the knobs.
        cells: by task, then by method and share.
    """

    path: Path
    starts: list[dict[str, Any]]
    baselines: dict[str, str]
    lines: dict[Setting, dict[str, Any]]
    cells: dict[str, dict[Setting, Cell]]

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """The distinct conditions of the run's starts: where, and with which versions."""
        return all_conditions(
            {"conditions": {part: start[part] for part in WHERE} | start["conditions"]}
            for start in self.starts
        )

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What identifies the questions of every task, in the order they were asked."""
        told = {task["name"]: task for start in self.starts for task in start["tasks"]}
        return list(told.values())

    @property
    def tasks(self) -> list[str]:
        """Tasks that have answers of the unreduced model, in the order they were asked."""
        return [
            task
            for task, cells in self.cells.items()
            if cells.get((UNREDUCED, 1.0), Cell()).answers
        ]

    def settings(self) -> list[Setting]:
        """Methods and shares that were answered on every task, in the order asked for."""
        return [
            setting
            for setting in self.cells[self.tasks[0]]
            if all(self.common(task, setting) for task in self.tasks)
        ]

    def common(self, task: str, *settings: Setting) -> list[int]:
        """Questions that unreduced and all these settings answered; none where one is refused."""
        cells = [self.cells[task].get(setting, Cell()) for setting in settings]
        if any(cell.refused is not None for cell in cells):
            return []
        indices = set(self.cells[task][UNREDUCED, 1.0].answers)
        return sorted(indices.intersection(*(cell.answers for cell in cells)))


def read(path: Path) -> Records:
    """Read a run's file, finished or not.

    Raises:
        InputError: no such file, not one of `foveate measure`, or no unreduced answers in it.
    """
    if not path.is_file():
        raise InputError(f"no such file of records: {path}")
    starts: list[dict[str, Any]] = []
    lines: dict[Setting, dict[str, Any]] = {}
    cells: dict[str, dict[Setting, Cell]] = defaultdict(lambda: defaultdict(Cell))
    for row in run_lines(Journal(path)):
        match row["kind"]:
            case "run":
                starts.append(row)
            case "setting":
                lines[row["method"], float(row["budget"])] = row
            case kind:
                cell = cells[row["task"]][row["method"], float(row["budget"])]
                if kind == "answer":
                    cell.answers[row["index"]] = row
                elif kind == "time":
                    cell.rounds[row["round"]] = row
                elif "index" in row:
                    cell.unanswerable[row["index"]] = row["why"]
                else:
                    cell.refused = row["why"]
    plain = {name for (name, _), line in lines.items() if is_baseline(line)}
    known = {task: dict(rows) for task, rows in cells.items()}
    found = Records(path, starts, _worded(plain), lines, known)
    if not starts or not found.tasks:
        raise InputError(f"{path} holds no answers of the unreduced model; run `foveate measure`")
    return found


def is_baseline(setting: dict[str, Any]) -> bool:
    """Whether a setting's line is of a baseline; older lines have no role but say it as their paper."""
    return setting["role" if "role" in setting else "paper"] == BASELINE


def _worded(baselines: set[str]) -> dict[str, str]:
    """Names of the baselines in sentences, in the order of `WORDS`, then by name."""
    order = [*(name for name in WORDS if name in baselines), *sorted(baselines)]
    return {name: WORDS.get(name, name) for name in order}
