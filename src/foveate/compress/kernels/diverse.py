"""All steps of `foveate.compress.divprune.diverse` in one Triton kernel, with a block a sample.

On a GPU each operation costs microseconds, however small, and `foveate.compress.divprune.steps` takes a
few for every token that stays.
"""

from typing import no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from jaxtyping import Float, Int
from torch import Tensor


def steps_in_one_kernel(
    distance: Float[Tensor, "B N N"], first: Int[Tensor, "B"], count: int
) -> Int[Tensor, "B K"]:
    """The same choices as `foveate.compress.divprune.steps`, ties and NaN included.

    Args:
        distance: contiguous, -inf on its diagonal.
        first: token that is chosen first.
        count: tokens to choose.
    """
    samples, tokens, _ = distance.shape
    chosen = torch.empty(samples, count, dtype=torch.long, device=distance.device)
    chosen[:, 0] = first
    block = triton.next_power_of_2(tokens)
    warps = min(32, max(block // 256, 1))
    with torch.cuda.device_of(distance):  # Triton launches on the current one
        launch = _steps[(samples,)]
        launch(distance, chosen, tokens, count, block, num_warps=warps)  # pyright: ignore
    return chosen


@triton.jit(do_not_specialize=["count"])
@no_type_check  # or, where types are checked, the checker's wrapper would be compiled
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
        nearest = tl.minimum(nearest, line, propagate_nan=tl.PropagateNan.ALL)
        # as for torch's argmax NaN is the most, of equals the first is taken, and never one outside
        row = tl.argmax(tl.where(nearest != nearest, float("inf"), nearest), 0).to(tl.int64)
        tl.store(chosen + step, row)
