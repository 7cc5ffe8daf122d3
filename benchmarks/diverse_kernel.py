"""Choosing the tokens that differ most: what does one kernel save on a GPU?

    python benchmarks/diverse_kernel.py --device cuda

Both are paths of `foveate.compress.divprune.diverse`, on the same features: milliseconds, the median of 5
runs after a warm-up. Where the kernel does not run (`--device cpu`) the loop is timed alone.
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor

from foveate.compress import divprune
from foveate.runtime.timing import clock


def loop(features: Tensor, count: int) -> Tensor:
    """As `diverse`, without the kernel."""
    with mock.patch.object(divprune, "kernel_on", return_value=divprune.steps):
        return divprune.diverse(features, count)


def ways(device: torch.device) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """The paths that there are on a device, by name."""
    if device.type == "cpu" or divprune.kernel_on(device) is divprune.steps:
        return {"loop": loop}
    return {"loop": loop, "kernel": divprune.diverse}


def milliseconds(way: Callable[[Tensor, int], Tensor], features: Tensor, count: int) -> float:
    """Median of 5 runs."""
    seconds = []
    for _ in range(6):
        began = clock(features.device)
        way(features, count)
        seconds.append(clock(features.device) - began)
    return 1000 * statistics.median(seconds[1:])


def line(features: Tensor, count: int) -> str:
    """What each way took, and whether they agree."""
    there = ways(features.device)
    times = [f"{name} {milliseconds(way, features, count):.2f} ms" for name, way in there.items()]
    first, last = (way(features, count) for way in (loop, list(there.values())[-1]))
    same = f"; {(first == last).float().mean():.1%} of the choices are the same"
    return (
        f"{count} of {features.shape[1]} tokens: {', '.join(times)}{same if len(there) > 1 else ''}"
    )


def main() -> None:
    """Time, then compare."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # why the kernel does not run
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tokens", type=int, nargs="+", default=[729, 1568, 3699, 6272])
    parser.add_argument("--width", type=int, default=3584)
    given = parser.parse_args()
    for tokens in given.tokens:
        drawn = torch.randn(1, tokens, given.width, generator=torch.Generator().manual_seed(0))
        sys.stdout.write(line(drawn.to(given.device), tokens // 4) + "\n")


if __name__ == "__main__":
    main()
