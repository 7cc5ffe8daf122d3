"""What one prefill is made of: the longest operations, and how often the host waits for the device.

    python benchmarks/profile_prefill.py --device cuda --shape onevision-7b --frames 32 --reduction aim

Written as text to standard output. A wait is an operation whose result Python looks at, which keeps it
from queueing what comes next; torch names them (`torch.cuda.set_sync_debug_mode`). They are counted in a
run of their own, since naming them takes time. Those of `foveate.reduce`'s clock are not among them.
"""

import argparse
import collections
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, build, prompt
from torch.profiler import ProfilerActivity, profile

import foveate

TOP = 25


def prefills(model: Any, inputs: Any, reduction: Any) -> Callable[[], foveate.Report]:
    """A function that prefills once."""

    def once() -> foveate.Report:
        with torch.no_grad(), foveate.reduce(model, reduction) as run:
            model(**inputs, use_cache=True, logits_to_keep=1)
        return run.report

    return once


def longest(once: Callable[[], Any], device: str) -> str:
    """The table of the longest operations."""
    kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device == "cuda")]
    with profile(activities=kinds) as seen:
        once()
    return seen.key_averages().table(
        sort_by=f"self_{device}_time_total", row_limit=TOP, max_name_column_width=90
    )


def waits(once: Callable[[], Any]) -> collections.Counter[str]:
    """How often the host waits for the device, by the line that makes it."""
    found: collections.Counter[str] = collections.Counter()

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "synchronizing" not in str(message):
            return
        stack = traceback.extract_stack()[:-1]
        known = [f for f in stack if "/foveate/" in f.filename or "/transformers/" in f.filename]
        last = (known or stack)[-1]
        found[f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno} {last.line}"] += 1

    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            once()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return found


def main() -> None:
    """Parse, run, tell."""
    choices = {
        "unreduced": foveate.Reduction(),
        "aim": foveate.AIM(),
        "aim-prune": foveate.AIM(keep=1.0),
        "fovea": foveate.Fovea(),
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="onevision-smoke")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--reduction", choices=choices, nargs="+", default=["aim"])
    arguments = parser.parse_args()
    dtype = torch.bfloat16 if arguments.device == "cuda" else torch.float32
    shape = SHAPES[arguments.shape]
    model = build(shape.config(None), arguments.device, dtype)
    inputs = prompt(model, shape.media(arguments.frames))
    for name in arguments.reduction:
        once = prefills(model, inputs, choices[name])
        once()
        report = once()
        lines = [f"## {name}: {arguments.shape}, {arguments.frames} frames", str(report.seconds)]
        if arguments.device == "cuda":
            found = waits(once)
            lines.append(f"the host waited {found.total()} times")
            lines += [f"{count:5} {line}" for line, count in found.most_common(40)]
        lines.append(longest(once, arguments.device))
        sys.stdout.write("\n".join(lines) + "\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
