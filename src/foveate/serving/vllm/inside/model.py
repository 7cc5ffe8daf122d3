"""The engine's half: a model whose LLM may prune."""

from typing import Any

import torch
from torch import Tensor

from foveate.serving.vllm.inside.layers import PrunedLayers
from foveate.serving.vllm.inside.limits import refuse_engine
from foveate.serving.vllm.model import FoveateModel


class PrunableModel(FoveateModel):
    """`FoveateModel` of a family whose positions stand in a line, so that the LLM may prune."""

    may_prune = True

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.pruned: PrunedLayers | None = None
        if self.foveate.inside is not None:
            refuse_engine(vllm_config)
            llm = self.get_language_model().model
            self.pruned = PrunedLayers(llm, self.foveate.inside, vllm_config)

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: Any = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        """The stock embeddings; which rows are visual tokens is noted for `forward`."""
        if self.pruned is not None:
            self.pruned.visual = is_multimodal
        return super().embed_input_ids(
            input_ids, multimodal_embeddings, is_multimodal=is_multimodal
        )

    def forward(self, input_ids: Any, positions: Tensor, *arguments: Any, **named: Any) -> Any:
        """The stock forward; states of rows that were dropped are no numbers."""
        if self.pruned is None:
            return super().forward(input_ids, positions, *arguments, **named)
        with self.pruned.forward() as step:
            states = super().forward(input_ids, positions, *arguments, **named)
        if step is None or len(states) == len(positions):
            return states
        whole = states.new_full((len(positions), states.shape[1]), torch.nan)
        whole[step.rows] = states
        return whole
