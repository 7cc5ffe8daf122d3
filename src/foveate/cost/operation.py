"""`Operation` and `Cost`: what is counted, and its sum."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from foveate.cost.hardware import Machine


@dataclass(frozen=True)
class Cost:
    """Cost of one prefill of one sample, or of its decoding.

    Attributes:
        flops: all layers and the logits of the last token.
        attention_flops: the N x N products among them; a causal kernel computes about half of these.
        kv_elements: numbers in the KV cache; its size is that times the bytes of one.
        state_elements: numbers that linear attention remembers beside them, of 4 bytes in every dtype.
        operations: FLOPs and moved numbers of each operation, for times.
    """

    flops: int
    attention_flops: int
    kv_elements: int
    operations: tuple[tuple["Operation", int], ...] = ()
    state_elements: int = 0

    def ms(self, machine: Machine) -> float:
        """Milliseconds on a machine: a roofline, or by its calibration."""
        return machine.ms(self.operations)

    def __add__(self, other: "Cost") -> "Cost":
        """The cost of both, one after the other."""
        return Cost(
            self.flops + other.flops,
            self.attention_flops + other.attention_flops,
            self.kv_elements + other.kv_elements,
            self.operations + other.operations,
            self.state_elements + other.state_elements,
        )

    def cache_bytes(self, itemsize: int) -> int:
        """Size of the cache, where a number of keys and values takes so many bytes."""
        return itemsize * self.kv_elements + 4 * self.state_elements

    @classmethod
    def of(
        cls,
        operations: Iterable[tuple["Operation", int]],
        kv_elements: int = 0,
        state_elements: int = 0,
    ) -> "Cost":
        """The sum of operations, each with how often it runs."""
        counted = tuple(operations)
        return cls(
            flops=sum(work.flops * times for work, times in counted),
            attention_flops=sum(w.flops * times for w, times in counted if w.attention),
            kv_elements=kv_elements,
            operations=counted,
            state_elements=state_elements,
        )


class Operation(NamedTuple):
    """One operation.

    Attributes:
        flops: as they are counted.
        timed: FLOPs that a kernel really computes.
        moved: numbers read or written.
    """

    flops: int
    timed: int
    moved: int
    attention: bool = False
