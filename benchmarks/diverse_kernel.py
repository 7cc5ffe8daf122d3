"""Choosing the tokens that differ most in one kernel: what would it save on a GPU?

    python benchmarks/diverse_kernel.py --device cuda
    TRITON_INTERPRET=1 python benchmarks/diverse_kernel.py --device cpu --tokens 60    # does it agree?

`foveate.compress.divprune.diverse` takes a step for every token that stays, of a few operations each, and
on a GPU each costs microseconds, however small. Here all steps are one Triton kernel, with a block a
sample. Both are timed on the same features: milliseconds, the median of 5 runs after a warm-up.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from foveate.compress.divprune import diverse
from foveate.runtime.prefill import clock


@triton.jit
def _steps(distance, chosen, tokens, count, block: tl.constexpr):
    sample = tl.program_id(0)
    distance += sample.to(tl.int64) * tokens * tokens
    chosen += sample * count
    columns = tl.arange(0, block)
    inside = columns < tokens
    nearest = tl.where(inside, float("inf"), float("-inf"))
    row = tl.load(chosen)
    for step in range(1, count):
        line = tl.load(distance + row * tokens + columns, mask=inside, other=float("-inf"))
        nearest = tl.minimum(nearest, line)
        row = tl.argmax(nearest, 0).to(tl.int64)
        tl.store(chosen + step, row)


def in_one_kernel(features: Tensor, count: int) -> Tensor:
    """As `diverse`."""
    unit = F.normalize(features.float(), dim=-1)
    distance = (unit @ unit.mT).neg_().add_(1)
    own = distance.diagonal(dim1=1, dim2=2)
    own.fill_(torch.inf)
    samples, tokens, _ = features.shape
    chosen = torch.empty(samples, count, dtype=torch.long, device=features.device)
    chosen[:, 0] = distance.amin(-1).argmax(-1)
    own.fill_(-torch.inf)
    block = triton.next_power_of_2(tokens)
    _steps[(samples,)](
        distance, chosen, tokens, count, block, num_warps=min(32, max(block // 256, 1))
    )
    return chosen


def milliseconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Median of 5 runs."""
    call()
    seconds = []
    for _ in range(5):
        began = clock(device)
        call()
        seconds.append(clock(device) - began)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tokens", type=int, nargs="+", default=[729, 1568, 3699, 6272])
    parser.add_argument("--width", type=int, default=3584)
    arguments = parser.parse_args()
    for tokens in arguments.tokens:
        features = torch.randn(
            1, tokens, arguments.width, generator=torch.Generator().manual_seed(0)
        )
        features = features.to(arguments.device)
        count = tokens // 4
        ways = {"steps": diverse, "one kernel": in_one_kernel}
        made = [way(features, count) for way in ways.values()]
        same = (made[0] == made[1]).float().mean().item()
        times = {
            name: milliseconds(partial(way, features, count), features.device)
            for name, way in ways.items()
        }
        told = ", ".join(f"{name} {took:.2f} ms" for name, took in times.items())
        sys.stdout.write(
            f"{count} of {tokens} tokens: {told}; {same:.1%} of the choices are the same\n"
        )


if __name__ == "__main__":
    main()
