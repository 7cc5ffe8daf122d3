"""Machines, which turn costs into times: by published peaks, or by measuring this one."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from foveate.cost.calibration import Calibration
from foveate.errors import InputError


@runtime_checkable
class Machine(Protocol):
    """What turns operations, each with how often it runs, into milliseconds."""

    @property
    def name(self) -> str: ...
    def ms(self, operations: Iterable[tuple[Any, int]]) -> float: ...


@dataclass(frozen=True)
class Hardware:
    """A machine's peaks.

    Attributes:
        name: as `foveate cost --machine` takes it.
        flops: per second, dense fp16 or bf16 with fp32 sums, without sparsity.
        bandwidth: of its memory, in bytes per second.
        memory_bytes: of the device, None if it is not fixed.
        source: of the figures.
        itemsize: bytes of the numbers it computes with.
    """

    name: str
    flops: float
    bandwidth: float
    memory_bytes: float | None
    source: str
    itemsize: int = 2

    def ms(self, operations: Iterable[tuple[Any, int]]) -> float:
        """Roofline: each operation at the peak rate or at the full bandwidth, whichever is slower."""
        return 1000 * sum(
            times * max(work.timed / self.flops, self.itemsize * work.moved / self.bandwidth)
            for work, times in operations
        )


TABLE = {
    machine.name: machine
    for machine in (
        Hardware("a100", 312e12, 1555e9, 40e9, "NVIDIA A100 40GB SXM data sheet; AIM's tables"),
        Hardware("a100-80gb", 312e12, 2039e9, 80e9, "NVIDIA A100 80GB SXM data sheet"),
        Hardware("h100", 989.4e12, 3350e9, 80e9, "NVIDIA H100 SXM data sheet"),
        Hardware("h200", 989.4e12, 4800e9, 141e9, "NVIDIA H200 SXM data sheet"),
        Hardware("l4", 121e12, 300e9, 24e9, "NVIDIA L4 data sheet (242 TFLOPS with sparsity)"),
        Hardware(
            "rtx-4090", 165.2e12, 1008e9, 24e9, "NVIDIA Ada architecture white paper, appendix A"
        ),
    )
}


def hardware(name: str) -> Machine:
    """The machine of that name; "cpu" is measured on the spot, a .json file was made by `calibrate`.

    Raises:
        InputError: unknown name; the message lists the known ones.
    """
    if name.endswith(".json"):
        return Calibration.read(Path(name))
    if name == "cpu":
        return measure_cpu()
    if name not in TABLE:
        raise InputError(
            f"unknown machine {name!r}; known: {', '.join(TABLE)}, cpu (measured), or a .json of "
            "foveate calibrate"
        )
    return TABLE[name]


def measure_cpu(size: int = 768, repeats: int = 5) -> Hardware:
    """This machine's fp32 rates, by a matrix product and a copy of 64 MB: the best of some repeats."""
    left = np.ones((size, size), np.float32)
    right, out = left.copy(), left.copy()
    product = _best_seconds(lambda: np.matmul(left, right, out=out), repeats)
    source = np.ones(16_000_000, np.float32)
    target = np.empty_like(source)
    copy = _best_seconds(lambda: np.copyto(target, source), repeats)
    return Hardware(
        "cpu", 2 * size**3 / product, 2 * source.nbytes / copy, None, "measured here, fp32", 4
    )


def _best_seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
