"""The layers of an LLM of vLLM's with a method between them, by hooks: the modules stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from vllm.forward_context import get_forward_context  # pyright: ignore[reportMissingImports]

from foveate.reduction import Pruner
from foveate.serving.vllm.inside.compact import builder_of, compacted
from foveate.serving.vllm.inside.limits import refuse_llm
from foveate.serving.vllm.inside.step import Attended, Request, Step


class PrunedLayers:
    """Drops rows between the layers.

    Args:
        llm: vLLM's model of the LLM, without its head.
        pruner: the method.
        vllm_config: of the engine.

    Attributes:
        visual: which rows of the next forward are visual tokens; None for none.

    Raises:
        UnsupportedError: an LLM or an attention backend of which it is not shown to be right.
        InputError: a schedule that does not fit its depth.
    """

    def __init__(self, llm: Any, pruner: Pruner, vllm_config: Any) -> None:
        refuse_llm(llm)
        self.pruner, self.schedule = pruner, pruner.schedule(len(llm.layers))
        self.visual: Tensor | None = None
        self._step: Step | None = None
        self._attended: Attended | None = None
        # by a request's first block, which is its own as long as it lives
        self._dropped: dict[int, list[int]] = {}
        attention = [layer.self_attn.attn for layer in llm.layers]
        self._names = [each.layer_name for each in attention]
        self._builder = builder_of(attention[0], vllm_config)
        for number, layer in enumerate(llm.layers):
            layer.register_forward_pre_hook(partial(self._enter, number))
            layer.register_forward_hook(partial(self._leave, number))
            attention[number].register_forward_pre_hook(self._attend)

    @contextmanager
    def forward(self) -> Iterator[Step | None]:
        """For the length of one forward of the LLM; the rows that are left, None where vLLM profiles."""
        context = get_forward_context()
        stock = context.attn_metadata, context.slot_mapping
        if isinstance(context.attn_metadata, dict):
            self._metadata = context.attn_metadata[self._names[0]]
            self._step = self._begun(self._metadata)
            self._lengths = [(each.count, each.held) for each in self._step.requests]
            context.attn_metadata, context.slot_mapping = map(dict, stock)
        try:
            yield self._step
        finally:
            self._step = self._attended = None
            context.attn_metadata, context.slot_mapping = stock

    def _begun(self, metadata: Any) -> Step:
        """All rows of a batch."""
        starts, blocks = metadata.query_start_loc.tolist(), metadata.block_table[:, 0].tolist()
        visual = torch.zeros(starts[-1], dtype=torch.bool)
        if self.visual is not None:
            visual = self.visual.cpu()
        requests = []
        for (begin, end), held, block in zip(
            pairwise(starts), metadata.seq_lens.tolist(), blocks, strict=True
        ):
            is_prompt = held == end - begin
            if is_prompt:
                self._dropped[block] = []
            to_llm = int(visual[begin:end].sum())
            requests.append(Request(end - begin, held, to_llm, is_prompt, self._dropped[block]))
        return Step(requests, visual)

    def _enter(self, number: int, layer: Any, arguments: tuple[Any, ...]) -> Any:
        """Tell a layer's attention of the rows that are left, and hand it their positions."""
        if self._step is None:
            return None
        lengths, context = self._step.enter(number), get_forward_context()
        if lengths != self._lengths:
            self._lengths = lengths
            self._metadata = compacted(self._builder, self._metadata.block_table, lengths)
        context.attn_metadata[self._names[number]] = self._metadata
        context.slot_mapping[self._names[number]] = self._metadata.slot_mapping
        positions, *states = arguments
        return positions[self._step.rows], *states

    def _attend(self, attention: Any, arguments: tuple[Any, ...]) -> None:
        """Note queries and keys."""
        if self._step is not None:
            query, key, _ = arguments
            heads = (-1, attention.num_heads, attention.head_size)
            grouped = (-1, attention.num_kv_heads, attention.head_size)
            scaling = attention.impl.scale
            self._attended = Attended(query.view(heads), key.view(grouped), scaling)

    def _leave(self, number: int, layer: Any, arguments: tuple[Any, ...], output: Any) -> Any:
        """Drop what is pruned behind a layer."""
        if self._step is None or number not in self.schedule or self._attended is None:
            return None
        index = self._step.prune(self.pruner, self.schedule[number], self._attended)
        return None if index is None else tuple(states[index] for states in output)
