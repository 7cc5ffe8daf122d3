"""Run by a test with TRITON_INTERPRET=1, which must be set before Triton is imported.

Prints as JSON the choices of the loop and of the kernel, case by case; null for all where this Triton's
interpreter cannot even count up to an argument (Triton 3.6 with NumPy 2.4 cannot).
"""

import json
import sys

import torch
import triton
import triton.language as tl
from jaxtyping import install_import_hook
from triton.runtime.errors import InterpreterError

with install_import_hook("foveate", "beartype.beartype"):  # as in all other tests
    from foveate.compress import divprune
    from foveate.compress.kernels.diverse import steps_in_one_kernel


@triton.jit
def count_up(out, count):
    for step in range(count):
        tl.store(out + step, step)


def can_count() -> bool:
    out = torch.zeros(3, dtype=torch.long)
    try:
        count_up[(1,)](out, 3)
    except InterpreterError:
        return False
    return out.tolist() == [0, 1, 2]


def cases() -> dict[str, tuple[torch.Tensor, int]]:
    """Features and how many of them stay."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

    broken = drawn(2, 12, 4)
    broken[1, 7, 2] = torch.nan
    return {
        "one token": (drawn(1, 1, 4), 1),
        "one of two": (drawn(1, 2, 4), 1),
        "a whole block": (drawn(1, 64, 8), 16),
        "one over a block": (drawn(1, 65, 8), 16),
        "more than one warp": (drawn(1, 600, 8), 40),
        "a batch": (drawn(5, 33, 8), 9),
        "all of them": (drawn(2, 21, 6), 21),
        "ties": (torch.eye(5).repeat(2, 3, 1), 11),
        "all alike": (torch.ones(2, 9, 3), 4),
        "all zero": (torch.zeros(1, 9, 3), 4),
        "bfloat16": (drawn(2, 40, 8).bfloat16(), 12),
        "float16": (drawn(2, 40, 8).half(), 12),
        "float16 with ties": (drawn(2, 40, 2).half().round(), 30),
        "NaN in one sample": (broken, 6),
        "NaN alone": (torch.full((1, 5, 2), torch.nan), 3),
        "more than there are": (drawn(2, 6, 4), 9),
    }


def both(features: torch.Tensor, count: int) -> tuple[list, list]:
    loop = divprune.diverse(features, count)
    divprune.steps, kept = steps_in_one_kernel, divprune.steps
    try:
        return loop.tolist(), divprune.diverse(features, count).tolist()
    finally:
        divprune.steps = kept


if __name__ == "__main__":
    made = {name: both(*case) for name, case in cases().items()} if can_count() else None
    sys.stdout.write(json.dumps(made))
