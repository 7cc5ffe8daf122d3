"""What an LLM and an encoder are called with, beside embeddings, pixels, positions and masks."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def of_rows(value: Any, index: Tensor, rows: int) -> Any:
    """An argument of an LLM, (B or 1, N, ...) or anything else, for some of the prompt's rows.

    Args:
        value: the argument.
        index: (B, M), the rows.
        rows: N, of the prompt.
    """
    if not isinstance(value, Tensor) or value.dim() < 2 or value.shape[1] != rows:
        return value
    if value.shape[0] not in (1, len(index)):
        return value
    whole, index = value.expand(len(index), *value.shape[1:]), index.to(value.device)
    return whole.gather(
        1, index.view(*index.shape, *[1] * (value.dim() - 2)).expand(*index.shape, *value.shape[2:])
    )


def uncut(call: Mapping[str, Any]) -> dict[str, Any]:
    """What is changed among an LLM's arguments so that it hands on all rows, of which the head gets some.

    An LLM that cuts them to the last one for the layers that only read keys may do so: it sees all.
    """
    asked = call.get("logits_to_keep")
    return {"logits_to_keep": 0} if isinstance(asked, int) and asked > 1 else {}


def wants_cache(call: Mapping[str, Any], config: Any) -> bool:
    """Whether the LLM would make itself a cache."""
    use_cache = call.get("use_cache")
    return bool(getattr(config, "use_cache", False) if use_cache is None else use_cache)


def sizes_on_host(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder's arguments with what says how large the pictures are on the CPU, copied once.

    Their groups, grids and tiles are counted from it again and again.
    """
    return {
        name: value.cpu()
        if isinstance(value, Tensor) and value.dim() <= 2 and not value.is_floating_point()
        else value
        for name, value in arguments.items()
    }
