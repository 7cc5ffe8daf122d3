"""The summary of a run: a row for each method and share, by task and for their mean."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from foveate.errors import InputError
from foveate.records.intervals import Difference, mean_difference
from foveate.records.journal import UNREDUCED
from foveate.records.read import WORDS, Records, Setting, read
from foveate.records.split import Split, splits
from foveate.records.verdict import Comparison, against_baselines

BASE: Setting = (UNREDUCED, 1.0)
MEAN = "mean"  # the name of the mean over tasks


@dataclass(frozen=True)
class Row:
    """One method at one share on one task, or for the mean of the tasks.

    Attributes:
        task: its name, "mean" for the mean of all.
        method: name.
        budget: the share of visual tokens that was asked for.
        n: questions compared.
        accuracy: mean score.
        difference: to unreduced, paired, with its 95 % interval.
        llm_share: LLM FLOPs (merging and scoring included), as a share of unreduced.
        flops_share: FLOPs from pixels to the last token, likewise; None if the encoder's are unknown.
        kv_share: KV bytes likewise.
        visual_tokens: at the LLM's input.
        first_token_ms: median over the rounds; None without a stopwatch.
        speedup: unreduced time to the first token over this one's, median over rounds that both ran;
            unlike milliseconds it can be compared with settings that were timed on another day.
        parts_ms: medians of encode, compress, score, prefill, decode.
        on_front: whether it is on the Pareto front of accuracy over LLM FLOPs.
        on_time_front: likewise of accuracy over speed-up; None without a stopwatch.
        against: comparisons with the plain baselines at its share.
    """

    task: str
    method: str
    budget: float
    n: int
    accuracy: float
    difference: Difference
    llm_share: float
    flops_share: float | None
    kv_share: float
    visual_tokens: float
    first_token_ms: float | None
    speedup: float | None
    parts_ms: dict[str, float] | None
    on_front: bool = False
    on_time_front: bool | None = None
    against: tuple[Comparison, ...] = ()

    def cells(self) -> tuple[str, ...]:
        """A line of the terminal's table."""
        change = f"{100 * self.difference.low:+.1f} to {100 * self.difference.high:+.1f}"
        relations = dict.fromkeys(comparison.relation for comparison in self.against)
        said = "; ".join(
            f"{relation} " + ", ".join(f.word for f in self.against if f.relation == relation)
            for relation in relations
        )
        share = f"{self.llm_share:.0%}" + (" (front)" if self.on_front else "")
        setting = self.method, f"{self.budget:g}", f"{self.n:,}"
        whole = "-" if self.flops_share is None else f"{self.flops_share:.0%}"
        faster = "-" if self.speedup is None else f"{self.speedup:.2f}x"
        return *setting, f"{self.accuracy:.1%}", change, share, whole, faster, said or "-"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "against"},
            "against": [comparison.to_dict() for comparison in self.against],
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Row":
        """What `to_dict` made."""
        against = tuple(map(Comparison.from_dict, told["against"]))
        difference = Difference(**told["difference"])
        return cls(**{**told, "difference": difference, "against": against})


@dataclass(frozen=True)
class Refusal:
    """A setting that was impossible.

    Attributes:
        task: where.
        method: name.
        budget: the share of visual tokens that was asked for.
        why: in words.
        index: the question on which it was impossible; None for the whole task.
    """

    task: str
    method: str
    budget: float
    why: str
    index: int | None


@dataclass(frozen=True)
class Summary:
    """The results of a run.

    Attributes:
        run: its last start; "tasks" identifies the questions of every task.
        conditions: the distinct conditions of its starts.
        starts: how often it was started.
        baselines: the baselines among the methods, with their names in sentences.
        overall: rows for the mean of the tasks.
        by_task: rows for each task.
        splits: VTC-Bench's two groups, where resizing was measured.
        refused: settings that were impossible.
    """

    run: dict[str, Any]
    conditions: list[dict[str, Any]]
    starts: int
    baselines: dict[str, str]
    overall: list[Row]
    by_task: dict[str, list[Row]]
    splits: list[Split]
    refused: list[Refusal]

    def to_dict(self) -> dict[str, Any]:
        """One JSON document."""
        return {
            "run": self.run,
            "conditions": self.conditions,
            "starts": self.starts,
            "baselines": self.baselines,
            "rows": [
                row.to_dict() for rows in (self.overall, *self.by_task.values()) for row in rows
            ],
            "splits": [split.to_dict() for split in self.splits],
            "refused": [asdict(row) for row in self.refused],
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Summary":
        """What `to_dict` made."""
        rows = [Row.from_dict(row) for row in told["rows"]]
        count = len({(row.method, row.budget) for row in rows})  # of the rows over the mean
        by_task: dict[str, list[Row]] = {}
        for row in rows[count:]:
            by_task.setdefault(row.task, []).append(row)
        return cls(
            run=told["run"],
            conditions=told["conditions"],
            starts=told["starts"],
            baselines=told["baselines"] if "baselines" in told else _compared_with(rows),
            overall=rows[:count],
            by_task=by_task,
            splits=[Split(**split) for split in told["splits"]],
            refused=[Refusal(**row) for row in told["refused"]],
        )


def summarise(path: Path) -> Summary:
    """Summarise a run's file, finished or not: settings are compared on questions that both answered.

    Args:
        path: the run's records, or a summary as `foveate report --json` prints it.

    Raises:
        InputError: neither of them, or no unreduced answers in it.
    """
    told = _document(path)
    if told is None:
        return summary_of(read(path))
    try:
        return Summary.from_dict(told)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a summary as `foveate report --json` prints it: {error!r}"
        ) from None


def _document(path: Path) -> dict[str, Any] | None:
    """A summary that is a whole file; None for a file of records, line by line."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and "rows" in told else None


def _compared_with(rows: list[Row]) -> dict[str, str]:
    """The baselines of a summary that does not list them, as the older ones do not."""
    words = {found.baseline: found.word for row in rows for found in row.against}
    return {name: words[name] for name in (*WORDS, *words) if name in words}


def summary_of(records: Records) -> Summary:
    """The summary of a run's records."""
    settings = records.settings()
    by_task = {
        task: _with_fronts([_row(records, task, setting) for setting in settings])
        for task in records.tasks
    }
    overall = [
        _mean_row(records, [rows[place] for rows in by_task.values()])
        for place in range(len(settings))
    ]
    refused = [
        Refusal(task, *setting, why, index)
        for task, cells in records.cells.items()
        for setting, cell in cells.items()
        for index, why in [(None, cell.refused), *cell.unanswerable.items()]
        if why is not None
    ]
    return Summary(
        run={**records.starts[-1], "tasks": records.questions},
        conditions=records.conditions,
        starts=len(records.starts),
        baselines=records.baselines,
        overall=_with_fronts(overall),
        by_task=by_task,
        splits=splits(records, settings),
        refused=refused,
    )


def _row(records: Records, task: str, setting: Setting) -> Row:
    cell, base = records.cells[task][setting], records.cells[task][BASE]
    indices = records.common(task, setting)
    scores = cell.scores(indices)
    mine, theirs = cell.mean("flops", indices), base.mean("flops", indices)
    times, base_times = cell.first_token_ms(), base.first_token_ms()
    both = [base_times[n] / times[n] for n in times if n in base_times]
    return Row(
        task=task,
        method=setting[0],
        budget=setting[1],
        n=len(indices),
        accuracy=fmean(scores),
        difference=mean_difference([(base.scores(indices), scores)]),
        llm_share=_share(
            cell.mean("llm_flops", indices), cell.mean("llm_flops_unreduced", indices)
        ),
        flops_share=None if mine is None or theirs is None else mine / theirs,
        kv_share=_share(cell.mean("kv_bytes", indices), cell.mean("kv_bytes_unreduced", indices)),
        visual_tokens=cell.mean("visual_tokens_to_llm", indices) or 0.0,
        first_token_ms=median(times.values()) if times else None,
        speedup=median(both) if both else None,
        parts_ms=cell.parts_ms(),
        against=tuple(against_baselines(records, [task], setting).values()),
    )


def _share(part: float | None, whole: float | None) -> float:
    assert part is not None
    assert whole
    return part / whole


def _mean_row(records: Records, rows: list[Row]) -> Row:
    """The mean of one setting's rows, tasks counting equally; its interval draws within each task."""
    setting = rows[0].method, rows[0].budget
    pairs = []
    for row in rows:
        cells, indices = records.cells[row.task], records.common(row.task, setting)
        pairs.append((cells[BASE].scores(indices), cells[setting].scores(indices)))

    def mean(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if any(value is None for value in values) else fmean(values)

    names = ("accuracy", "llm_share", "flops_share", "kv_share", "visual_tokens")
    return replace(
        rows[0],
        task=MEAN,
        n=sum(row.n for row in rows),
        difference=mean_difference(pairs),
        parts_ms=None,
        against=tuple(against_baselines(records, records.tasks, setting).values()),
        **{name: mean(name) for name in (*names, "first_token_ms", "speedup")},
    )


def _with_fronts(rows: list[Row]) -> list[Row]:
    """Mark the rows on the Pareto fronts."""
    timed = [(row, 1 / row.speedup) for row in rows if row.speedup is not None]
    return [
        replace(
            row,
            on_front=not any(
                _beats(other.accuracy, other.llm_share, row.accuracy, row.llm_share)
                for other in rows
            ),
            on_time_front=None
            if row.speedup is None
            else not any(
                _beats(other.accuracy, share, row.accuracy, 1 / row.speedup)
                for other, share in timed
            ),
        )
        for row in rows
    ]


def _beats(accuracy: float, cost: float, other_accuracy: float, other_cost: float) -> bool:
    """At least as good in both and better in one."""
    return (
        accuracy >= other_accuracy
        and cost <= other_cost
        and (accuracy > other_accuracy or cost < other_cost)
    )
