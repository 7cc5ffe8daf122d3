"""Does it run faster? LLM prefill at LLaVA-OneVision shapes: analytic ratios, measured ratio.

    python benchmarks/speed.py                  # 0.5B, 8 and 32 frames, about half an hour on 2 cores
    python benchmarks/speed.py --frames 8 --runs 5

Weights are random and the vision tower is a thin one that gives 196 tokens a frame: what is timed is
the LLM's prefill, with merging and scoring. The conditions take turns, so that a drift of the
machine hits all of them. There are two analytic ratios: of all FLOPs, attention's N x N products
counted whole as torch's counter does; and of those that a causal kernel (SDPA, flash) really computes,
half of these products. Raw times are appended to a journal: run the same command again after a
kill and it goes on. The summary goes to results/speed.json.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peak_memory import PeakMemory
from shapes import SIZES, TEXT_TOKENS, THIN, build, onevision, prompt

import foveate
from foveate.cost.llm import prefill_cost
from foveate.cost.vision.encoder import Media
from foveate.records.conditions import conditions
from foveate.records.journal import Journal

ROOT = Path(__file__).parent.parent
METHODS = {
    "unreduced": foveate.Reduction(),
    "merge only": foveate.AIM(keep=0.25, prune=None),
    "prune only": foveate.AIM(keep=1.0, prune=(0.5, 0.786)),
    "aim": foveate.AIM(keep=0.25, prune=(0.5, 0.786)),
}


def thin(size: str) -> Any:
    """A random model whose LLM has a real size, on the GPU in bf16 if there is one."""
    has_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if has_gpu else ("cpu", torch.float32)
    return build(onevision(size, THIN), device, dtype)


def clip(model: Any, frames: int) -> dict[str, torch.Tensor]:
    """A clip of noise between text tokens."""
    inputs = prompt(model, Media(frames=frames, height=384, width=384))
    del inputs["attention_mask"]  # nothing is padding
    return inputs


def once(model: Any, inputs: dict[str, torch.Tensor], method: str) -> dict[str, Any]:
    """One prefill: its seconds, FLOPs, and memory."""
    with torch.no_grad(), PeakMemory() as memory, foveate.reduce(model, METHODS[method]) as run:
        model(**inputs, use_cache=True, logits_to_keep=1)
    report = run.report
    return {
        **{name: report.seconds[name] for name in ("compress", "score", "prefill")},
        "flops": report.prefill_flops,
        "kv_bytes": report.kv_bytes,
        "peak_bytes": memory.above_start,
        "tokens_by_layer": report.visual_tokens_by_layer[0],
    }


def main() -> None:
    """Parse, measure what the journal lacks, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("0.5b", "7b"), default="0.5b")
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--runs", type=int, default=5, help="counted runs, after one warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="stop measuring after so long; go on later")
    parser.add_argument("--journal", type=Path, default=ROOT / "runs" / "speed.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    where = conditions(gpu=gpu, threads=arguments.threads, size=arguments.size)
    journal = Journal(arguments.journal)
    mine = {"size": arguments.size, "threads": arguments.threads, "gpu": gpu}
    done = [row for row in journal if all(row.get(key) == value for key, value in mine.items())]
    cells = [
        (frames, run, method)
        for frames in arguments.frames
        for run in range(arguments.runs + 1)
        for method in METHODS
    ]
    left = [
        cell for cell in cells if cell not in {(r["frames"], r["run"], r["method"]) for r in done}
    ]
    model = thin(arguments.size) if left else None
    began = time.monotonic()
    for number, (frames, run, method) in enumerate(left):
        if arguments.minutes and time.monotonic() - began > 60 * arguments.minutes:
            break
        row = once(model, clip(model, frames), method)
        row |= {**mine, "frames": frames, "run": run, "method": method}
        journal.append(row)
        done.append(row)
        minutes = (time.monotonic() - began) / (number + 1) * (len(left) - number - 1) / 60
        sys.stderr.write(
            f"{number + 1}/{len(left)} {frames} frames, {method}: "
            f"{row['prefill']:.2f} s, about {minutes:.0f} min left\n"
        )
    summary = {
        "conditions": where,
        "rows": [row for frames in arguments.frames for row in summarise(done, frames)],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


def causal_flops(row: dict[str, Any]) -> float:
    """FLOPs of a run, attention under the diagonal only."""
    llm = SimpleNamespace(**SIZES[row["size"]])
    return row["flops"] - prefill_cost(llm, row["tokens_by_layer"], TEXT_TOKENS).attention_flops / 2


def summarise(done: list[dict[str, Any]], frames: int) -> list[dict[str, Any]]:
    """Medians and ratios of one clip length; the warm-up (run 0) is left out.

    Nothing while a method has no counted run.
    """
    by_method = {
        method: [r for r in done if r["frames"] == frames and r["method"] == method and r["run"]]
        for method in METHODS
    }

    def median(method: str, *parts: str) -> float:
        return statistics.median(sum(row[part] for part in parts) for row in by_method[method])

    if not all(by_method.values()):
        return []
    base = by_method["unreduced"][0]
    rows = []
    for method, runs in by_method.items():
        analytic = base["flops"] / runs[0]["flops"]
        causal = causal_flops(base) / causal_flops(runs[0])
        measured = median("unreduced", "prefill") / median(method, "prefill", "compress")
        rows.append(
            {
                "frames": frames,
                "method": method,
                "runs": len(runs),
                "visual_tokens_by_layer": runs[0]["tokens_by_layer"],
                "prefill_ms": 1000 * median(method, "prefill", "compress"),
                "analytic_speedup": analytic,
                "analytic_causal_speedup": causal,
                "measured_speedup": measured,
                "reached": measured / analytic,
                "reached_causal": measured / causal,
                "score_share": median(method, "score") / median(method, "prefill", "compress"),
                "compress_share": median(method, "compress")
                / median(method, "prefill", "compress"),
                "kv_share": runs[0]["kv_bytes"] / base["kv_bytes"],
                "peak_bytes": None
                if any(row["peak_bytes"] is None for row in runs)
                else median(method, "peak_bytes"),
            }
        )
    return rows


if __name__ == "__main__":
    main()
