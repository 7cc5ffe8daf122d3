"""The public name of the LLM's cost; the code is in `foveate.cost`."""

from foveate.cost.llm import (
    CONVENTIONS,
    Convention,
    decode_cost,
    kv_elements_per_row,
    prefill_cost,
)
from foveate.cost.operation import Cost, Operation

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Cost",
    "Operation",
    "decode_cost",
    "kv_elements_per_row",
    "prefill_cost",
]
