"""PaliGemma: all of the prompt sees all of it, both ways; what is said is causal."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.models.family import Family, register_family


@register_family
class PaliGemma(Family):
    """`PaliGemmaForConditionalGeneration` with Gemma or Gemma 2."""

    model_type = "paligemma"
    model_class = "PaliGemmaForConditionalGeneration"
    token_types = "token_type_ids"

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """The prompt is one block, where the model is told the token types; a suffix to learn is none."""
        kinds = inputs.get("token_type_ids")
        return None if kinds is None else torch.where(kinds == 0, 0, -1)

    def tiny_inputs(
        self,
        config: Any,
        samples: Sequence[Sequence[tuple[str, int]]],
        padding: Literal["left", "right"] = "left",
    ) -> dict[str, Tensor]:
        """Pictures and text are of one type."""
        inputs = super().tiny_inputs(config, samples, padding)
        return {**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}
