"""The tables of the guide to serving."""

import json
from typing import Any

from tables import ROOT, markdown

LEFT_OUT = (1, 64)  # GPUs, whose rows are in the record alone


def held() -> str:
    """The simulation at each load, all settings of it."""
    record = json.loads((ROOT / "results" / "serving.json").read_text())["simulation"]
    rows = []
    for row in record["rows"]:
        if row["gpus"] in LEFT_OUT:
            continue
        runs, held = row["runs"], row["p95_is_held"]
        where = (
            f"{row['processes']} : {row['engines']}"
            if row["processes"] + row["engines"] > 2
            else ""
        )
        rows.append(
            [
                f"{row['gpus']:,}" + (f" ({where})" if where else ""),
                f"{row['load']:g}",
                row["pattern"] + (", slower from 20 s on" if row["drift"] else ""),
                *(f"{runs[name]['p95_ms']:,.0f}" for name in ("unreduced", "least")),
                f"**{runs['held']['p95_ms']:,.0f}**",
                f"{runs['held']['held']:.1%}",
                f"{runs['held']['mean_keep']:.2f}",
                f"{row['requests_a_second_to_unreduced']:.2f}x",
                f"{row['honesty']['said_no']:.1%}",
                {True: "yes", False: "no", None: "not feasible"}[held],
            ]
        )
    header = ["GPUs", "load", "requests come", "p95 ms unreduced", "at 1/16", "held", "within target",
              "mean share", "requests a second", "told `held=no`", "within 10 %"]  # fmt: skip
    return f"{markdown(header, rows)}\n\n{_conditions(record)}"


def _conditions(record: dict[str, Any]) -> str:
    target = record["rows"][0]["target_ms"]
    feasible = [row for row in record["rows"] if row["feasible"]]
    missed = [row for row in feasible if not row["p95_is_held"]]
    tight = min((row["runs"]["least"]["p95_ms"] / target for row in missed), default=1.0)
    rest = f"; in the others 1/16 alone takes {tight:.0%} of the target or more" if missed else ""
    return (
        f"Target {target:g} ms, feasible where always 1/16 holds it. Of the record's {len(feasible)} "
        f"feasible settings (also 1 and 64 GPUs), {len(feasible) - len(missed)} are within "
        f"10 %{rest}. In brackets API processes : engines of a group, else 1 : 1. "
        f"Law: {record['law']['source']}; commit {record['conditions']['commit']}; the first "
        f"{record['learning']} requests of each process left out."
    )


def load() -> str:
    """The load test of a vLLM on a CPU: times as shares of the target, for machines differ."""
    record = json.loads((ROOT / "results" / "serving.json").read_text())["load"]
    unreduced = {row["clients"]: row for row in record["rows"] if row["condition"] == "unreduced"}
    rows = []
    for row in record["rows"]:
        target, whole = row["target_ms"], unreduced[row["clients"]]
        rows.append(
            [
                str(row["clients"]),
                row["condition"],
                f"{row['p50_ms'] / target:.2f}",
                f"**{row['p95_ms'] / target:.2f}**",
                f"{row['held']:.0%}",
                f"{row['requests_a_second'] / whole['requests_a_second']:.2f}x",
                f"{row['prompt_tokens']:.0f}",
            ]
        )
    header = ["clients", "visual tokens", "p50 / target", "p95 / target", "within target",
              "requests a second", "prompt tokens"]  # fmt: skip
    where = record["conditions"]
    return (
        f"{markdown(header, rows)}\n\n{record['rows'][0]['requests']} requests each; {where['server']} "
        f"on {where['cpu']}, a LLaVA-1.5 of random weights whose LLM is what costs "
        f"(`benchmarks/serving_checkpoint.py`), {where['answer']} tokens an answer; commit "
        f"{where['commit']}."
    )
