"""Does the controller hold its target? A simulation at the load of 1 to 1,000 GPUs.

    python benchmarks/serving_simulation.py                  # minutes; to results/serving.json
    python benchmarks/serving_simulation.py --gpus 1 8 --requests 200
    python benchmarks/serving_simulation.py --law load       # of the load test in results/serving.json

Engines with continuous batching (`serving_engine.py`) take what a law of service says, which is fitted to
measured runs (`serving_law.py`), with noise. The controllers are those of `foveate.serving.budget`, fed
with the cost model's times on a table's machine: how far these are from the law is theirs to find out.
Requests come by chance (Poisson), in bursts or in waves, with a mix of picture sizes.

Each setting is served three times with the same requests: unreduced, always with the least share, and by
the controllers. A target is feasible where always the least
share holds it for 19 of 20 requests. The first requests of each controller, from which it learns, are
counted apart.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from serving_engine import Engine, Kind, Sent, serve
from serving_law import Law, law_of_first_tokens, law_of_load

from foveate.cost.request import Request
from foveate.cost.vision.encoder import Media
from foveate.records.conditions import conditions
from foveate.serving.budget.body import Asked
from foveate.serving.budget.controller import LADDER, Controller
from foveate.serving.budget.estimate import CHARACTERS, TEMPLATE_TOKENS
from foveate.serving.budget.settings import Settings

ROOT = Path(__file__).parent.parent
MODEL, MACHINE = "llava-onevision-7b", "h200"
MIX = (  # sizes of the pictures, characters, share of requests
    (((336, 336),), 200, 0.20),
    (((480, 640),), 400, 0.35),
    (((768, 1024),), 400, 0.25),
    (((1080, 1920),), 2000, 0.15),
    (((480, 640), (480, 640)), 800, 0.05),
)
ANSWER = 60  # tokens, on average
STREAMED = 0.9  # of requests
LEARNING = 40  # first requests of a controller
TOLERANCE = 1.1  # of the target, for the 95th percentile
PATTERNS: dict[str, Callable[[float], float]] = {  # factor on the rate, by the time in ms
    "chance": lambda ms: 1.0,
    "bursts": lambda ms: 3.0 if ms % 10_000 < 2000 else 0.5,
    "waves": lambda ms: 1 + 0.7 * math.sin(ms / 60_000 * 2 * math.pi),
}
LOADS = (0.5, 0.9, 1.3, 1.8, 6.0)  # of what engines can begin unreduced
FLEET = 1000  # GPUs of which less is simulated
SWINGS = -0.3  # correlation of a window's choices with the next one's below which they swing
WINDOW = 20  # requests whose mean choice is watched for swings


def kinds() -> list[Kind]:
    """The mix: what the law is asked with, and what the cost model says."""
    settings = Settings(ttft_ms=1.0, model=MODEL, calibration=MACHINE)
    estimator = settings.estimator()
    assert estimator is not None
    lone = encoder_flops(estimator.config, Media(2)) / 2  # several pictures are not cut into tiles
    found = []
    for sizes, characters, share in MIX:
        works = estimator.works(Asked(sizes, 0, characters, True), settings.reductions())
        height, width = sizes[0]
        shown = encoder_flops(estimator.config, Media(len(sizes), height=height, width=width))
        text = characters // CHARACTERS + TEMPLATE_TOKENS
        found.append(
            Kind(
                name=" + ".join(f"{tall}x{wide}" for tall, wide in sizes),
                share=share,
                views=shown / lone,
                tokens=tuple(work.visual_tokens + text for work in works),
                works_ms=tuple(work.ms for work in works),
            )
        )
    return found


def encoder_flops(config: Any, media: Media) -> int:
    """Of the vision tower and the projector."""
    return Request.of(config, media, 0).cost().parts["encode"].flops


def drawn(
    mix: Sequence[Kind], per_second: float, count: int, rng: np.random.Generator, pattern: str
) -> list[Sent]:
    """Requests by chance, at a rate that follows a pattern of `PATTERNS`."""
    chosen = rng.choice(len(mix), count, p=[kind.share for kind in mix])
    answers, streams = rng.geometric(1 / ANSWER, count), rng.random(count) < STREAMED
    gaps = rng.exponential(1.0, count)
    now, sent = 0.0, []
    for number in range(count):
        now += 1000 * float(gaps[number]) / (per_second * PATTERNS[pattern](now))
        kind = mix[int(chosen[number])]
        sent.append(Sent(kind, now, int(answers[number]), bool(streams[number])))
    return sent


def capacity(mix: Sequence[Kind], law: Law, choice: int) -> float:
    """Requests a second that one engine can begin, if its steps are full."""
    ms = sum(k.share * (law.encode_ms * k.views + law.token_ms * (k.tokens[choice] + ANSWER))
             for k in mix)  # fmt: skip
    return 1000 / ms


Makes = Callable[[], list[Controller | int]]


def run(
    setting: dict[str, Any], mix: Sequence[Kind], law: Law, make: Makes, seed: int
) -> list[list[Sent]]:
    """All requests of a setting, those of each group of engines by themselves."""
    groups = []
    per_engine = setting["load"] * capacity(mix, law, 0)
    for group in range(setting["gpus"] // setting["engines"]):
        rng = np.random.default_rng((seed, group))
        engines = [Engine(law, rng, slower=setting["slower"]) for _ in range(setting["engines"])]
        rate, count = per_engine * len(engines), setting["requests"] * len(engines)
        sent = drawn(mix, rate, count, rng, setting["pattern"])
        serve(sent, engines, make())
        groups.append(sent)
    return groups


def summary(groups: Sequence[Sequence[Sent]], processes: int, target: float) -> dict[str, Any]:
    """What a run came to, its controllers' first requests left out but for one number."""
    skip = LEARNING * processes
    late = [one for sent in groups for one in sent[skip:]]
    early = [one for sent in groups for one in sent[:skip]]
    first = np.array([one.first_ms for one in late])
    keeps = np.array([LADDER[one.choice] for one in late])
    spans = [max(one.end_ms for one in sent) - sent[0].at_ms for sent in groups]
    return {
        "p50_ms": float(np.percentile(first, 50)),
        "p95_ms": float(np.percentile(first, 95)),
        "p95_learning_ms": float(np.percentile([one.first_ms for one in early], 95)),
        "held": float((first <= target).mean()),
        "requests_a_second": float(
            sum(1000 * len(s) / t for s, t in zip(groups, spans, strict=True))
        ),
        "mean_keep": float(keeps.mean()),
        "shares": {str(keep): float((keeps == keep).mean()) for keep in LADDER},
    }


def honesty(groups: Sequence[Sequence[Sent]], target: float) -> dict[str, Any]:
    """How often what the header said came true."""
    told = [(one.held, one.first_ms <= target) for sent in groups for one in sent[LEARNING:]]
    said = {word: [true for held, true in told if held == yes] for word, yes in
            (("yes", True), ("no", False))}  # fmt: skip
    return {
        "said_no": len(said["no"]) / len(told),
        "yes_was_held": float(np.mean(said["yes"])) if said["yes"] else None,
        "no_was_missed": 1 - float(np.mean(said["no"])) if said["no"] else None,
    }


def swings(groups: Sequence[Sequence[Sent]]) -> dict[str, Any]:
    """Whether choices go up and down by themselves: how alike a window of requests is to the next one.

    Windows of independent requests have a correlation near 0, slow drift with the load one above 0; a
    controller that overshoots goes from much to little and back, which is one far below 0.
    """
    found, steps = [], []
    for sent in groups:
        choices = np.array([one.choice for one in sent[LEARNING:]], float)
        means = choices[: len(choices) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(1)
        steps.append(float(np.abs(np.diff(means)).mean()) if len(means) > 1 else 0.0)
        if len(means) > 3 and means[1:].std() > 0 and means[:-1].std() > 0:
            found.append(float(np.corrcoef(means[:-1], means[1:])[0, 1]))
    return {
        "next_window_correlation": float(np.mean(found)) if found else None,
        "mean_step_in_rungs": float(np.mean(steps)),
    }


def simulate(
    setting: dict[str, Any], mix: Sequence[Kind], law: Law, target: float
) -> dict[str, Any]:
    """One setting, served in each way."""
    processes = setting["processes"]
    holding: list[Controller] = []

    def held() -> list[Controller | int]:
        made = [Controller(target) for _ in range(processes)]
        holding.extend(made)
        return [*made]

    runs = {
        name: run(setting, mix, law, make, setting["seed"])
        for name, make in (
            ("unreduced", lambda: [0]),
            ("least", lambda: [len(LADDER) - 1]),
            ("held", held),
        )
    }
    found = {name: summary(groups, processes, target) for name, groups in runs.items()}
    feasible = found["least"]["p95_ms"] <= target
    more = found["held"]["requests_a_second"] / found["unreduced"]["requests_a_second"]
    known = [controller.correction for controller in holding]
    row = {name: setting[name] for name in setting if name != "slower"}
    return {
        **row,
        "target_ms": target,
        "feasible": feasible,
        "runs": found,
        "honesty": honesty(runs["held"], target),
        "swings": swings(runs["held"]),
        "correction": {
            part: float(np.median([getattr(one, part) for one in known]))
            for part in ("ahead", "own", "fixed_ms")
        },
        "room": float(np.median([controller.room for controller in holding])),
        "requests_a_second_to_unreduced": more,
        "p95_is_held": found["held"]["p95_ms"] <= TOLERANCE * target if feasible else None,
    }


def settings(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What is simulated; of the largest fleets the loads around what they can serve."""
    base = {"gpus": 1, "engines": 1, "processes": 1, "pattern": "chance", "load": 1.0,
            "drift": False, "requests": arguments.requests, "seed": arguments.seed}  # fmt: skip
    rows = [{**base, "gpus": gpus, "load": load, "pattern": pattern}
            for gpus in arguments.gpus for pattern in PATTERNS for load in LOADS
            if gpus < FLEET or (load in (0.9, 1.3) and pattern != "waves")]  # fmt: skip
    # several API processes before one engine, one before several engines, both; and a slower machine
    rows += [{**base, "gpus": 8, "load": 1.3, "engines": engines, "processes": processes}
             for engines, processes in ((1, 4), (8, 1), (8, 4))]  # fmt: skip
    rows += [{**base, "gpus": 8, "load": load, "drift": True} for load in (0.9, 1.3)]
    slower = {False: lambda ms: 1.0, True: lambda ms: 1.0 if ms < 20_000 else 1.4}
    return [
        {
            **row,
            "slower": slower[row["drift"]],
            "requests": min(row["requests"], 150 if row["gpus"] >= FLEET else row["requests"]),
        }
        for row in rows
    ]


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 1000])
    parser.add_argument("--requests", type=int, default=600, help="of each GPU")
    parser.add_argument("--target", type=float, default=600.0, help="milliseconds")
    parser.add_argument("--law", choices=("gpu", "load"), default="gpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "serving.json")
    arguments = parser.parse_args()
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    if arguments.law == "load" and "load" not in record:
        raise SystemExit(f"{arguments.out} has no load test: python benchmarks/serving_load.py")
    by_load = arguments.law == "load"
    law = law_of_load(record["load"]["requests"]) if by_load else law_of_first_tokens()
    mix, rows = kinds(), []
    for setting in settings(arguments):
        began = time.perf_counter()
        rows.append(simulate(setting, mix, law, arguments.target))
        sys.stderr.write(f"{line(rows[-1])} ({time.perf_counter() - began:.0f} s)\n")
    record["simulation"] = {
        "conditions": conditions(model=MODEL, machine=MACHINE, seed=arguments.seed),
        "law": law.to_dict(),
        "learning": LEARNING,
        "mix": [
            {"name": k.name, "share": k.share, "views": k.views, "tokens": k.tokens[0]} for k in mix
        ],
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    feasible = [row for row in rows if row["feasible"]]
    swung = [row["swings"]["next_window_correlation"] or 0.0 for row in rows]
    sys.stdout.write(
        f"{sum(row['p95_is_held'] for row in feasible)} of {len(feasible)} feasible settings held, "
        f"{len(rows) - len(feasible)} are not feasible; "
        f"{sum(row['requests_a_second_to_unreduced'] < 1 for row in rows)} with fewer requests a second "
        f"than unreduced; {sum(one < SWINGS for one in swung)} that swing\n"
    )


def line(row: dict[str, Any]) -> str:
    """A row, as it is told."""
    runs = row["runs"]
    p95 = ", ".join(f"{name} {runs[name]['p95_ms']:,.0f}" for name in runs)
    return (
        f"{row['gpus']} GPUs, load {row['load']}, {row['pattern']}"
        f"{', drift' if row['drift'] else ''}, {row['processes']}/{row['engines']}: p95 {p95} ms, "
        f"keep {runs['held']['mean_keep']:.2f}, x{row['requests_a_second_to_unreduced']:.2f}, "
        f"room {row['room']:.2f}, told no {row['honesty']['said_no']:.3f}: "
        f"{'held' if row['p95_is_held'] else 'MISSED' if row['feasible'] else 'infeasible'}"
    )


if __name__ == "__main__":
    main()
