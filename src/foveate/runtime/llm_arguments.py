"""What an LLM and an encoder are called with, beside embeddings, pixels, positions and masks."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from foveate.runtime.seams import Signature, cache_in


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


def cache_to_fill(
    call: Mapping[str, Any], signature: Signature, llm: Any
) -> tuple[Any, dict[str, Any]]:
    """The cache that an LLM will fill, if any, and what is changed among its arguments to that end.

    It makes one itself where it is asked to; layers that are checkpointed fill none.
    """
    cache, name = cache_in(call), signature.cache_name(call)
    if is_checkpointed([llm, *llm.layers]):
        return None, {name: None, "use_cache": False}
    use_cache = call.get("use_cache")
    wanted = getattr(llm.config, "use_cache", False) if use_cache is None else use_cache
    if cache is not None or not wanted:
        return cache, {}
    cache = DynamicCache(config=llm.config)
    return cache, {name: cache}


def is_checkpointed(modules: Iterable[Any]) -> bool:
    """Whether some compute their activations anew in the backward pass, as transformers' layers can."""
    return torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False) for module in modules
    )


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
