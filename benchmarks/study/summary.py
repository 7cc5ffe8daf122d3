"""From the journal to results/study.json: a row for each model, the laws, the verdicts."""

from collections.abc import Iterable
from typing import Any

from benchmarks.study.answers import read, table
from benchmarks.study.cost import request_flops
from benchmarks.study.trade import trade
from benchmarks.study.verdicts import law_of, verdicts
from foveate.cli.fit import law_document
from foveate.laws.fitting import FORMS
from foveate.records.conditions import all_conditions

TASKS = ("reasoning", "ocr", "video")


def summarise(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What results/study.json holds; a law that the journal is too small for is null."""
    rows = list(rows)
    answers = read(rows)
    laws = {task: {form: law_of(answers, task, form) for form in FORMS} for task in TASKS}
    return {
        "conditions": all_conditions(rows),
        "samples": rows[0]["samples"] if rows else None,
        "rates": [_told(row) for row in rows if row["kind"] == "rate"],
        "readers": [_told(row) for row in rows if row["kind"] == "reader"],
        "cells": [row | {"flops": request_flops(cell)} for cell, row in table(answers)],
        "trade": trade(answers),
        "laws": {
            task: {form: law and law_document(law) for form, law in forms.items()}
            for task, forms in laws.items()
        },
        "verdicts": verdicts(answers),
    }


def _told(row: dict[str, Any]) -> dict[str, Any]:
    names = ("size", "seed", "peak", "steps", "loss", "cpu_seconds")
    return {name: row[name] for name in names if name in row}
