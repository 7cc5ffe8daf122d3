"""What the tables of README and docs have in common."""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mode
from typing import Any

ROOT = Path(__file__).parent.parent


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(text: str, name: str, content: str) -> str:
    """A page with this between `<!-- NAME -->` and `<!-- end NAME -->`, if it has such a place."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.S)


def points(found: dict[str, float]) -> str:
    """A difference of accuracies in points, with its interval."""
    mean, low, high = (100 * found[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f}, {low:+.1f} to {high:+.1f}"


def seeds(rows: Sequence[dict[str, Any]], name: str) -> str:
    """How many seeds the means of rows are over, and which rows are over more or fewer.

    Args:
        rows: each with its "seeds" and visual "tokens"; one without seeds was not run.
        name: the column that tells whose row it is.
    """
    run = [(row[name], row["tokens"], len(row["seeds"])) for row in rows if row["seeds"]]
    usual = mode(count for *_, count in run)
    others = [f"{whose} at {tokens}: {count}" for whose, tokens, count in run if count != usual]
    return f"{usual} seeds" + (f" ({'; '.join(others)})" if others else "")


def condition(row: dict[str, Any]) -> str:
    """What a timed row ran under."""
    return row["condition"].replace("without foveate", "no foveate")


def where(record: dict[str, Any]) -> str:
    """The condition line of a record of times."""
    (ran,) = record["conditions"]
    threads = "" if ran["gpu"] else f"{ran['threads']} threads, "
    return (
        f"{ran['gpu'] or ran['cpu']}, bf16, SDPA, {threads}torch {ran['torch']}, transformers "
        f"{ran['transformers']}, commit {ran['commit']}; medians of ratios within a round, after a "
        "warm-up."
    )
