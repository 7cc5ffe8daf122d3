"""From the journal's answers to one row for each rival and count, and the differences that matter."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks.compressors.cell import COUNTS, RIVALS
from benchmarks.compressors.draw import LOOKUPS
from foveate.records.conditions import all_conditions
from foveate.records.intervals import Difference, mean_over_runs

SPLIT = "test"
READ = ("number", "word", "word_unseen")  # families of pictures of text
KINDS = ("reasoning", "ocr", "lookups")
AGAINST = ("average-pool", "tokenpacker")
Cells = dict[tuple[str, int], dict[int, str]]  # (rival, tokens) -> seed -> answers, "1" = right


def summarise(rows: Iterable[dict[str, Any]], recipe: dict[str, Any]) -> dict[str, Any]:
    """What results/compressors.json holds; a cell that was not run is null.

    Args:
        rows: of the journal: the families asked, then cells.
        recipe: of the cells that count; those of another recipe are passed over.
    """
    rows = list(rows)
    asked = next(row["asked"][SPLIT] for row in rows if "asked" in row)
    mine = [row for row in rows if row.get("recipe") == recipe]
    cells: Cells = {(name, count): {} for name in RIVALS for count in COUNTS}
    for row in mine:
        cells[row["rival"], row["tokens"]][row["seed"]] = row[SPLIT]
    return {
        "recipe": recipe,
        "questions": {kind: sum(chosen(asked, kind)) for kind in KINDS},
        "conditions": all_conditions(mine),
        "rows": [
            {
                "rival": name,
                "tokens": count,
                "seeds": sorted(cells[name, count]),
                "cpu_seconds": _seconds(mine, name, count),
                **{kind: accuracy(cells[name, count], asked, kind) for kind in KINDS},
            }
            for name in RIVALS
            for count in COUNTS
        ],
        "differences": [
            {
                "of": name,
                "to": other,
                "tokens": count,
                **{kind: difference(cells, name, other, count, asked, kind) for kind in KINDS},
            }
            for name in RIVALS
            if name.startswith("quecc")
            for other in AGAINST
            for count in COUNTS
        ],
    }


def chosen(asked: Sequence[str], kind: str) -> list[bool]:
    """Which questions count for one of `KINDS`, by their family.

    "lookups" are the questions whose answer hangs on which thing is named: the colour of a digit, the
    digit of a colour.
    """
    if kind == "lookups":
        return [family in LOOKUPS for family in asked]
    return [(family in READ) == (kind == "ocr") for family in asked]


def accuracy(runs: dict[int, str], asked: Sequence[str], kind: str) -> dict[str, float] | None:
    """Mean over seeds with its 95 % interval; None where no seed was run."""
    tables = [_scores(answers, asked, kind) for _, answers in sorted(runs.items())]
    return _plain(mean_over_runs(tables)) if tables else None


def difference(
    cells: Cells, name: str, other: str, count: int, asked: Sequence[str], kind: str
) -> dict[str, float] | None:
    """Paired by seed and question, over the seeds that both were run with; None where there are none."""
    ours, theirs = cells[name, count], cells[other, count]
    tables = [
        [
            a - b
            for a, b in zip(
                _scores(ours[seed], asked, kind), _scores(theirs[seed], asked, kind), strict=True
            )
        ]
        for seed in sorted(ours.keys() & theirs.keys())
    ]
    return _plain(mean_over_runs(tables)) if tables else None


def _scores(answers: str, asked: Sequence[str], kind: str) -> list[int]:
    pairs = zip(answers, chosen(asked, kind), strict=True)
    return [int(answer) for answer, counts in pairs if counts]


def _seconds(rows: list[dict[str, Any]], name: str, count: int) -> float | None:
    """Mean seconds of training, None where no seed was run."""
    spent = [r["cpu_seconds"] for r in rows if (r["rival"], r["tokens"]) == (name, count)]
    return fmean(spent) if spent else None


def _plain(found: Difference) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(found).items()}
