"""What vLLM's attention is told of a layer that has fewer rows: they stand one behind the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.v1.attention.backend import (  # pyright: ignore[reportMissingImports]
    CommonAttentionMetadata,
)


def builder_of(attention: Any, vllm_config: Any) -> Any:
    """What makes attention metadata; vLLM's runner has another like it.

    Args:
        attention: vLLM's `Attention` of a layer, as those of all layers are.
        vllm_config: of the engine.
    """
    make, spec = attention.attn_backend.get_builder_cls(), attention.get_kv_cache_spec(vllm_config)
    return make(spec, [attention.layer_name], vllm_config, torch.device("cpu"))


def compacted(builder: Any, blocks: Tensor, lengths: Sequence[tuple[int, int]]) -> Any:
    """Attention metadata of requests that have nothing between their cached rows.

    Args:
        builder: of `builder_of`.
        blocks: those of each request, in order.
        lengths: of each request how many rows are computed, and how many are cached then, these last.
    """
    size = builder.kv_cache_spec.block_size
    slots = []
    for own, (count, held) in zip(blocks.long(), lengths, strict=True):
        place = torch.arange(held - count, held)
        slots.append(own[place // size] * size + place % size)
    counts, helds = map(list, zip(*lengths, strict=True))
    starts = torch.tensor([0, *counts]).cumsum(0).int()
    common = CommonAttentionMetadata(
        query_start_loc=starts,
        query_start_loc_cpu=starts,
        seq_lens=torch.tensor(helds).int(),
        num_reqs=len(lengths),
        num_actual_tokens=sum(counts),
        max_query_len=max(counts),
        max_seq_len=max(helds),
        block_table_tensor=blocks,
        slot_mapping=torch.cat(slots),
    )
    return builder.build(0, common)
