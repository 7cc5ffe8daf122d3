"""The table of what a conversation remembers, from results/episodes.json."""

import json
from typing import Any

from tables import ROOT, markdown, points

FAMILIES = ("newest", "older", "again", "changed")


def episodes() -> str:
    """Accuracy by kind of question over what is held of the screens."""
    record = json.loads((ROOT / "results" / "episodes.json").read_text())
    test, val = record["test"], record["val"]
    rows = [
        [
            row["setting"],
            f"{row['visual_tokens']:,.0f}",
            f"{row['kv_bytes'] / 2**20:.1f} MiB",
            f"{row['own_turns']:.0%}",
            *(_cell(row["families"][family]) for family in FAMILIES),
        ]
        for row in test["rows"]
    ]
    header = [
        "each turn's picture, and what is kept",
        "visual tokens",
        "KV",
        "each turn",
        *FAMILIES,
    ]
    numbered = [row["families"]["numbered"]["accuracy"] for row in test["rows"]]
    unreduced, *_ = val["rows"]
    near_chance = ", ".join(
        f"{family} {unreduced['families'][family]['accuracy']:.0%}"
        for family in ("older", "again", "changed", "numbered")
    )
    return (
        f"{markdown(header, rows)}\n\n{test['n']} test episodes of {test['screens']:.0f} screens on "
        "average, a question of each kind in each; visual tokens (mean over layers) and KV as held "
        "behind the last screen. In brackets the 95 % interval of the paired difference to the first "
        f"row, in points. Guessing gives 12.5 %. On {val['n']} val episodes, everything kept, unreduced: "
        f"{near_chance}; `numbered` on the test split, over all rows: {min(numbered):.0%} to "
        f"{max(numbered):.0%}."
    )


def episodes_pairs() -> str:
    """Two ways to hold about as many tokens, beside each other."""
    found = json.loads((ROOT / "results" / "episodes.json").read_text())["test"]
    tokens = {row["setting"]: f"{row['visual_tokens']:,.0f}" for row in found["rows"]}
    rows = [
        [
            f"{pair['of']} ({tokens[pair['of']]})",
            f"{pair['to']} ({tokens[pair['to']]})",
            points(pair["own_turns"]),
            *(points(pair["families"][family]) for family in FAMILIES),
        ]
        for pair in found["pairs"]
    ]
    return markdown(["this (visual tokens)", "minus this", "each turn", *FAMILIES], rows)


def episodes_order() -> str:
    """Which picture is given up first."""
    found = json.loads((ROOT / "results" / "episodes.json").read_text())["order"]
    rows = [
        [
            row["setting"],
            row["order"],
            *(_cell(row["families"][family], "to_oldest") for family in FAMILIES),
        ]
        for row in found["rows"]
    ]
    return (
        f"{markdown(['setting', 'given up first', *FAMILIES], rows)}\n\n{found['n']} episodes of the val "
        "split; in brackets the 95 % interval of the paired difference to oldest first, in points."
    )


def _cell(found: dict[str, Any], to: str = "to_unreduced") -> str:
    low, high = (100 * found[to][end] for end in ("low", "high"))
    told = f"{found['accuracy']:.0%}"
    return told if low == high == 0 else f"{told} ({low:+.0f} to {high:+.0f})"
