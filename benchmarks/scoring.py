"""Scoring inside the LLM in half precision: what share of the prefill it takes, and what it keeps.

    python -m benchmarks.scoring                   # agreement with fp32, then times, here on the CPU
    python -m benchmarks.scoring --device cuda --layers 24

Agreement: foveate-mini in bf16 answers validation questions; in each layer of AIM's schedule all methods
that rate by attention do so twice, from queries and keys as they are and from the same in fp32, and what
they would keep is compared at several shares. Time: LLaVA-OneVision-0.5B's LLM with random weights, cut
to fewer layers on a CPU; scoring in fp32 and in half precision take turns. The product of queries and
keys is timed by itself: scoring by the whole map cannot take less than that. The record goes to
results/scoring.json (scoring_cuda.json on a GPU).
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import foveate
from benchmarks.shapes import THIN, build, onevision, prompt
from foveate.ask.media import Clip
from foveate.cost.vision.encoder import Media
from foveate.prune import aim, products
from foveate.prune.schedule import Schedule
from foveate.records.conditions import conditions
from foveate.runtime.rows import top_rows
from foveate.runtime.timing import clock
from foveate.scenes import TASKS, questions

ROOT = Path(__file__).parent.parent
SHARES = (6 / 7, 5 / 7, 1 / 2, 1 / 4, 1 / 7)  # of the visual tokens in a layer
REDUCTIONS = {"aim": foveate.AIM(), "aim-prune": foveate.AIM(keep=1.0)}
METHODS = {
    "aim-prune": foveate.AIMPrune(),
    "fastv": foveate.FastV(),
    "fastv, last": foveate.FastV(voters="last"),
    "pyramiddrop": foveate.PyramidDrop(),
    "sparsevlm": foveate.SparseVLM(),
    "priortr": foveate.PriorTR(),
}


def kept(
    method: Any, query: Tensor, key: Tensor, scaling: float | None, visual: Tensor, share: float
) -> Tensor:
    """The visual tokens of one sample that a method keeps in a layer."""
    masks = {"visual": visual} if "visual" in method.needs else {}
    scores = method.score(query, key, None, scaling, **masks)
    return top_rows(scores, visual, [int(share * int(visual.sum()))])


@dataclass(frozen=True)
class Compared:
    """AIM's pruning, which in every layer notes in how far methods agree with themselves in fp32.

    Attributes:
        methods: what is compared.
        same: of each method and share, tokens kept both ways.
        all: of each method and share, tokens kept.
    """

    methods: dict[str, Any]
    same: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    all: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    needs: tuple[str, ...] = ("visual",)
    is_off: bool = False

    def schedule(self, layers: int) -> Schedule:
        """From the second layer on to the last but one."""
        return aim.AIMPrune((1, layers - 1)).schedule(layers)

    def flops(self, *_: Any, **__: Any) -> int:
        """Not counted."""
        return 0

    def score(
        self,
        query: Tensor,
        key: Tensor,
        valid: Tensor | None,
        scaling: float | None,
        visual: Tensor,
    ) -> Tensor:
        """AIM's importance in fp32."""
        full = query.float(), key.float()
        for name, method in self.methods.items():
            for share in SHARES:
                half, twin = (
                    kept(method, *given, scaling, visual, share) for given in ((query, key), full)
                )
                self.same[name] += int((half & twin).sum())
                self.all[name] += int(twin.sum())
        return aim.AIMPrune().score(*full, valid, scaling)


def agreement(task: str, count: int, methods: dict[str, Any] = METHODS) -> dict[str, float]:
    """Share of the kept tokens that are the same as in fp32, by method, in foveate-mini."""
    vlm = foveate.load("foveate-mini", device="cpu", dtype=torch.bfloat16)
    compared = Compared(methods)
    for images, text, _, _ in questions(task, "val", count):
        shown = Clip(images) if task == "video" else images[0]
        vlm.ask(shown, text, reduction=foveate.Reduction(inside=compared), max_new_tokens=1)
    return {name: compared.same[name] / total for name, total in compared.all.items()}


class Stopwatch:
    """What the products of queries and keys take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, query: Tensor, *rest: Any) -> Tensor:
        """The product, timed."""
        began = clock(query.device)
        out = products.product(query, *rest)
        self.seconds += clock(query.device) - began
        return out


def prefill(model: Any, inputs: Any, reduction: Any, *, half: bool) -> dict[str, float]:
    """Seconds of one prefill, of scoring in it, and of the products in that."""
    watch = Stopwatch()
    chosen = products.precision_on if half else lambda *_: products.FULL
    with (
        mock.patch.object(aim, "product", watch),
        mock.patch.object(aim, "precision_on", chosen),
        torch.no_grad(),
        foveate.reduce(model, reduction) as run,
    ):
        model(**inputs, use_cache=True, logits_to_keep=1)
    spent = run.report.seconds
    return {"prefill": spent["prefill"], "score": spent["score"], "product": watch.seconds}


def times(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Medians of each reduction, in fp32 and in half precision, which take turns."""
    model = build(onevision("0.5b", THIN, given.layers), given.device, torch.bfloat16)
    for frames in given.frames:
        inputs = prompt(model, Media(frames=frames, height=384, width=384))
        for name in given.reductions:
            seen: dict[bool, list[dict[str, float]]] = {False: [], True: []}
            for number in range(given.rounds + 1):
                for half in seen:
                    row = prefill(model, inputs, REDUCTIONS[name], half=half)
                    seen[half] += [row] * bool(number)
                    sys.stderr.write(f"{frames} frames, {name}, half: {half}: {row}\n")
            rows = inputs["input_ids"].shape[1]
            for half, found in seen.items():
                yield {"reduction": name, "frames": frames, "rows": rows, "half": half} | median(
                    found
                )


def median(found: list[dict[str, float]]) -> dict[str, Any]:
    """Median seconds, and medians of the shares of single prefills."""
    return {
        "seconds": {part: statistics.median(row[part] for row in found) for part in found[0]},
        "share": {
            part: statistics.median(row[part] / row["prefill"] for row in found)
            for part in ("score", "product")
        },
    }


def main() -> None:
    """Compare, time, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--questions", type=int, default=50, help="of each task")
    parser.add_argument("--frames", type=int, nargs="+", default=[32])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--reductions", nargs="+", choices=REDUCTIONS, default=list(REDUCTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="counted, after one warm-up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    gpu = torch.cuda.get_device_name() if given.device == "cuda" else None
    suffix = "_cuda" if given.device == "cuda" else ""
    fast = products.precision_on(torch.device(given.device), torch.bfloat16)
    record = {
        "conditions": conditions(gpu=gpu, threads=given.threads, dtype="bfloat16"),
        "factors": str(fast.factors),
        "logits": str(fast.result),
        "layers": given.layers,
        "rounds": given.rounds,
        "questions": given.questions,
        "agreement": {task: agreement(task, given.questions) for task in TASKS},
        "times": list(times(given)),
    }
    out = given.out or ROOT / "results" / f"scoring{suffix}.json"
    out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
