"""Products of queries and keys: in half precision where they are, and the device is faster at it.

All devices add the products up in fp32. A GPU also hands out logits in fp32. A CPU rounds them to bf16,
by at most 0.2 %: the tokens that stay are then those of fp32 but for fewer than 1 in 100, with
foveate-mini and on the golden data (`results/scoring.json`, `tests/prune/test_products.py`).
"""

import logging
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LOG = logging.getLogger(__name__)
HALF = (torch.bfloat16, torch.float16)


class Precision(NamedTuple):
    """Dtypes of a product.

    Attributes:
        factors: of queries and keys.
        result: of the logits.
    """

    factors: torch.dtype
    result: torch.dtype


FULL = Precision(torch.float32, torch.float32)


@cache
def precision_on(device: torch.device, dtype: torch.dtype) -> Precision:
    """In what queries and keys are multiplied.

    Args:
        device: where they are.
        dtype: what they are.
    """
    if device.type == "cuda" and dtype in HALF:
        return tried(device, Precision(dtype, torch.float32))
    if device.type == "cpu" and dtype == torch.bfloat16 and has_fast_bf16():
        return Precision(dtype, dtype)
    return FULL


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 faster than fp32."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def tried(device: torch.device, precision: Precision) -> Precision:
    """The precision if one product works in it on a device; else fp32, and a line in the log."""
    try:
        row = torch.ones(1, 1, 8, dtype=precision.factors, device=device)
        out = torch.full((1, 1, 1), torch.nan, dtype=precision.result, device=device)
        if product(row, row.mT, 0.5, out).item() != 4:
            raise RuntimeError("it is wrong")
    except (RuntimeError, TypeError) as error:
        LOG.info("no %s -> %s products on %s, so fp32: %s", *precision, device, error)
        return FULL
    return precision


def product(
    query: Float[Tensor, "G R d"],
    key: Float[Tensor, "G d K"],
    factor: float,
    out: Float[Tensor, "G R K"],
) -> Float[Tensor, "G R K"]:
    """`factor * query @ key`, rounded once, to the dtype of `out`.

    Args:
        query: rows of each group.
        key: columns of each group.
        factor: the logits'.
        out: where they are written.
    """
    if query.device.type == "cpu":  # one by one: some columns of all groups would be copied first
        for rows, columns, logits in zip(query, key, out, strict=True):
            torch.addmm(logits, rows, columns, beta=0, alpha=factor, out=logits)
        return out
    if out.dtype == query.dtype:
        return torch.baddbmm(out, query, key, beta=0, alpha=factor, out=out)
    return torch.baddbmm(out, query, key, out.dtype, beta=0, alpha=factor, out=out)
