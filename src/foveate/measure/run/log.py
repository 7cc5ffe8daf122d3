"""The file of a run: what is in it already, and whether what is asked for now belongs to it."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveate.errors import InputError
from foveate.measure.records import Journal, conditions
from foveate.measure.run.settings import Setting
from foveate.measure.tasks import Task

Cell = tuple[str, str, float]  # task, method, budget


class Log:
    """One JSON Lines file of one model; every line says its `kind`.

    - "run": a start: model, weights, tasks and conditions.
    - "setting": a method at a budget, with its knobs.
    - "answer": one question under one setting: right or wrong, tokens, FLOPs, KV bytes.
    - "time": one round of a stopwatch over the timed questions, under one setting.
    - "refused": why a setting cannot be had on a task.

    Attributes:
        answered: for each cell the questions that have an answer.
        rounds: for each cell the rounds that were timed.
        refused: cells that cannot be had.

    Args:
        path: the file; it is made if it is not there.
        model: what `identity` gave.
        tasks: that will be asked.
        settings: that will be measured.

    Raises:
        InputError: the file holds records of another model, of other questions, or of other knobs.
    """

    def __init__(
        self, path: Path, model: dict[str, Any], tasks: Sequence[Task], settings: Sequence[Setting]
    ) -> None:
        self.journal = Journal(path)
        self.answered: dict[Cell, set[int]] = defaultdict(set)
        self.rounds: dict[Cell, set[int]] = defaultdict(set)
        self.refused: set[Cell] = set()
        known: dict[tuple[str, float], dict[str, Any]] = {}
        asked = {task.name: task.identity() for task in tasks}
        for row in self.journal:
            match row["kind"]:
                case "run":
                    self._check(path, row, model, asked)
                case "setting":
                    known[row["method"], row["budget"]] = row
                case "answer":
                    self.answered[cell(row)].add(row["index"])
                case "time":
                    self.rounds[cell(row)].add(row["round"])
                case "refused":
                    self.refused.add(cell(row))
        new = []
        for setting in settings:
            mine, theirs = setting.record(), known.get(setting.key)
            if theirs is None:
                new.append(mine)
            elif mine["knobs"] != theirs["knobs"]:
                raise InputError(
                    f"{path} measured {setting.method} at {setting.budget:g} as {theirs['knobs']}, "
                    f"now it is {mine['knobs']}; give another --out"
                )
        self.journal.append(
            {"kind": "run", **model, "tasks": list(asked.values()), "conditions": conditions()}
        )
        for row in new:
            self.journal.append(row)

    @staticmethod
    def _check(
        path: Path, row: dict[str, Any], model: dict[str, Any], asked: dict[str, dict[str, Any]]
    ) -> None:
        for name in ("weights", "dtype"):
            if row[name] != model[name]:
                raise InputError(
                    f"{path} holds records of {row['model']} ({name} {row[name]}), now it is "
                    f"{model['model']} ({name} {model[name]}); give another --out"
                )
        for theirs in row["tasks"]:
            mine = asked.get(theirs["name"], theirs)
            if mine != theirs:
                raise InputError(
                    f"{path} asked {theirs}, now it would be {mine}; give another --out"
                )

    def cells(self) -> list[dict[str, Any]]:
        """For each cell how many answers and timed rounds the file holds, and whether it was refused."""
        keys = dict.fromkeys([*self.answered, *self.rounds, *self.refused])
        return [
            {
                **dict(zip(("task", "method", "budget"), key, strict=True)),
                "answers": len(self.answered.get(key, ())),
                "rounds": len(self.rounds.get(key, ())),
                "refused": key in self.refused,
            }
            for key in keys
        ]

    def answer(self, key: Cell, row: dict[str, Any]) -> None:
        """Note one answer."""
        self._append("answer", key, row)
        self.answered[key].add(row["index"])

    def time(self, key: Cell, row: dict[str, Any]) -> None:
        """Note one round of the stopwatch."""
        self._append("time", key, row)
        self.rounds[key].add(row["round"])

    def refuse(self, key: Cell, why: str) -> None:
        """Note that a setting cannot be had on a task."""
        self._append("refused", key, {"why": why})
        self.refused.add(key)

    def _append(self, kind: str, key: Cell, row: dict[str, Any]) -> None:
        task, method, budget = key
        self.journal.append({"kind": kind, "task": task, "method": method, "budget": budget, **row})


def cell(row: dict[str, Any]) -> Cell:
    """Task, method and budget of a line."""
    return row["task"], row["method"], row["budget"]
