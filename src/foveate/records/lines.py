"""The lines of a run's file: what each kind of them must hold."""

from collections.abc import Mapping
from typing import Annotated, Any

from foveate.errors import InputError
from foveate.knobs import Count, Keep, Range, check_of
from foveate.records.journal import Journal
from foveate.report import STAGES

Positive = Annotated[float, Range(above=0)]
Least = Annotated[float, Range(least=0)]
Cost = Positive | None


def _tasks(value: Any, name: str) -> None:
    if not isinstance(value, list) or not all(isinstance(v, dict) and "name" in v for v in value):
        raise InputError(f"{name} must be a list of tasks with their names, got {value!r}")


def _mapping(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name} must be an object, got {value!r}")


CELL = {"task": str, "method": str, "budget": Keep}
FIELDS: dict[str, dict[str, Any]] = {  # of each kind, annotated as knobs are
    "run": {
        "model": str,
        "family": str,
        "layers": Count,
        "weights": str,
        "dtype": str,
        "device": str,
        "gpu": str | None,
        "threads": Count,
        "tasks": Annotated[list, _tasks],
        "conditions": Annotated[dict, _mapping],
    },
    "setting": {"method": str, "budget": Keep, "knobs": str | None},
    "answer": {
        **CELL,
        "index": int,
        "score": float,
        "visual_tokens_to_llm": Least,
        "llm_flops": Positive,
        "llm_flops_unreduced": Positive,
        "kv_bytes": Least,
        "kv_bytes_unreduced": Positive,
        "flops": Cost,
    },
    "time": {
        **CELL,
        "round": int,
        **{f"{stage}_ms": Positive if stage == "prefill" else Least for stage in STAGES},
    },
    "refused": {**CELL, "why": str},
}


def run_lines(journal: Journal) -> list[dict[str, Any]]:
    """Every line of a run's file, whose fields are there and of their type.

    Raises:
        InputError: not a file of `foveate measure`; the message says which line is not one of its.
    """
    rows = list(journal)
    for row in rows:
        try:
            _check(row)
        except InputError as error:
            raise _refusal(journal, f"{error} in {str(row)[:80]}") from None
    if rows and not any(row["kind"] == "run" for row in rows):
        raise _refusal(journal, "no line of kind 'run' says which model it is of")
    known = {(row["method"], row["budget"]) for row in rows if row["kind"] == "setting"}
    for row in rows:
        if row["kind"] in ("answer", "time") and (row["method"], row["budget"]) not in known:
            setting = f"{row['method']} at {row['budget']:g}"
            raise _refusal(journal, f"no line of kind 'setting' has the knobs of {setting}")
    return rows


def _check(row: Mapping[str, Any]) -> None:
    kind = row.get("kind")
    if kind not in FIELDS:
        raise InputError(f"kind must be one of {tuple(FIELDS)}, got {kind!r}")
    for name, annotation in FIELDS[kind].items():
        if name not in row:
            raise InputError(f"{name} is missing")
        check_of(annotation)(row[name], name)
    if kind == "setting" and not {"role", "paper"} & row.keys():
        raise InputError("role is missing")
    if "index" in row:
        check_of(int)(row["index"], "index")


def _refusal(journal: Journal, why: str) -> InputError:
    return InputError(f"{journal.path} is not a file of `foveate measure`: {why}")
