"""The file of a run: what it holds already, and whether a new start of the run belongs to it."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foveate.ask.media import Sampling
from foveate.errors import InputError
from foveate.measure.run.settings import Setting
from foveate.measure.tasks import Task
from foveate.records.conditions import conditions
from foveate.records.journal import Journal
from foveate.records.lines import run_lines

LOG = logging.getLogger(__name__)
Cell = tuple[str, str, float]  # task, method, share


class Log:
    """One JSON Lines file of one model; every line says its `kind`.

    - "run": a start: model, weights, tasks and conditions.
    - "setting": a method at a share, with its knobs.
    - "answer": one question under one setting: right or wrong, tokens, FLOPs, KV bytes.
    - "time": one round of a stopwatch over the timed questions, under one setting.
    - "refused": why a setting is impossible on a task, or for the one question of an `index`.

    Attributes:
        answered: for each cell the questions that have an answer.
        rounds: for each cell the rounds that were timed.
        recorded: lines of settings, by method and share.
        refused: cells that are impossible.
        unanswerable: for each other cell the questions for which it is impossible.

    Args:
        path: the file; it is made if it is not there.
        model: the model's identity, as by `Worker.identity`.
        tasks: that will be asked.
        settings: that will be measured.
        sampling: frames taken from clip files.

    Raises:
        InputError: the file holds records of another model, other questions or other knobs, or is not
            such a file.
    """

    def __init__(
        self,
        path: Path,
        model: dict[str, Any],
        tasks: Sequence[Task],
        settings: Sequence[Setting],
        sampling: Sampling,
    ) -> None:
        self.journal = Journal(path)
        self.answered: dict[Cell, set[int]] = defaultdict(set)
        self.rounds: dict[Cell, set[int]] = defaultdict(set)
        self.refused: set[Cell] = set()
        self.unanswerable: dict[Cell, set[int]] = defaultdict(set)
        self.recorded: dict[tuple[str, float], dict[str, Any]] = {}
        identities = {task.name: shown_as(task, sampling) for task in tasks}
        for row in self._lines():
            self._read(path, row, model, identities)
        new = []
        for setting in settings:
            mine, theirs = setting.record(), self.recorded.get(setting.key)
            if theirs is None:
                new.append(mine)
            elif not setting.is_in(theirs):
                raise InputError(
                    f"{path} measured {setting.method} at {setting.share:g} as {theirs['knobs']}, "
                    f"now it is {mine['knobs']}; give another --out"
                )
        self.journal.append(
            {"kind": "run", **model, "tasks": list(identities.values()), "conditions": conditions()}
        )
        for row in new:
            self.journal.append(row)

    def _lines(self) -> list[dict[str, Any]]:
        try:
            return run_lines(self.journal)
        except InputError as error:
            raise InputError(
                f"{error}; records are added to a file of theirs, so give another --out"
            ) from None

    def _read(
        self,
        path: Path,
        row: dict[str, Any],
        model: dict[str, Any],
        identities: dict[str, dict[str, Any]],
    ) -> None:
        """Take in a line of the file."""
        match row["kind"]:
            case "run":
                self._check(path, row, model, identities)
            case "setting":
                self.recorded[row["method"], row["budget"]] = row
            case "answer":
                self.answered[cell(row)].add(row["index"])
            case "time":
                self.rounds[cell(row)].add(row["round"])
            case "refused":
                self._mark(cell(row), row.get("index"))

    @staticmethod
    def _check(
        path: Path,
        row: dict[str, Any],
        model: dict[str, Any],
        identities: dict[str, dict[str, Any]],
    ) -> None:
        for name in ("weights", "dtype"):
            if row[name] != model[name]:
                raise InputError(
                    f"{path} holds records of {row['model']} ({name} {row[name]}), now it is "
                    f"{model['model']} ({name} {model[name]}); give another --out"
                )
        for theirs in row["tasks"]:
            mine = identities.get(theirs["name"], theirs)
            if mine != theirs:
                raise InputError(
                    f"{path} asked {theirs}, now it would be {mine}; give another --out"
                )

    def cells(self) -> list[dict[str, Any]]:
        """For each cell how many answers, timed rounds and refused questions the file holds.

        A cell is refused if none of its questions could be asked.
        """
        keys = dict.fromkeys([*self.answered, *self.rounds, *self.refused, *self.unanswerable])
        return [
            {
                **dict(zip(("task", "method", "budget"), key, strict=True)),
                "answers": len(self.answered.get(key, ())),
                "rounds": len(self.rounds.get(key, ())),
                "unanswerable": len(self.unanswerable.get(key, ())),
                "refused": self._is_refused(key),
            }
            for key in keys
        ]

    def _is_refused(self, key: Cell) -> bool:
        none = not self.answered.get(key) and bool(self.unanswerable.get(key))
        return key in self.refused or none

    def answer(self, key: Cell, row: dict[str, Any]) -> None:
        """Note one answer."""
        self._append("answer", key, row)
        self.answered[key].add(row["index"])

    def time(self, key: Cell, row: dict[str, Any]) -> None:
        """Note one round of the stopwatch."""
        self._append("time", key, row)
        self.rounds[key].add(row["round"])

    def refuse(self, key: Cell, why: str, index: int | None = None) -> None:
        """Note that a setting is impossible on a task, or for one question of it."""
        place = "" if index is None else f", question {index}"
        LOG.info("refused: %s: %s at %g%s: %s", *key, place, why)
        self._append("refused", key, {"why": why} | ({} if index is None else {"index": index}))
        self._mark(key, index)

    def _mark(self, key: Cell, index: int | None) -> None:
        if index is None:
            self.refused.add(key)
        else:
            self.unanswerable[key].add(index)

    def _append(self, kind: str, key: Cell, row: dict[str, Any]) -> None:
        task, method, budget = key
        self.journal.append({"kind": kind, "task": task, "method": method, "budget": budget, **row})


def shown_as(task: Task, sampling: Sampling) -> dict[str, Any]:
    """What identifies a task's questions: its own identity, and the frames taken from its clips."""
    return task.identity() | ({"sampling": asdict(sampling)} if task.reads_files else {})


def cell(row: dict[str, Any]) -> Cell:
    """Task, method and share of a line."""
    return row["task"], row["method"], row["budget"]
