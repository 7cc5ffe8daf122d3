"""Gemma 3: the tokens of a picture see each other both ways."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from foveate.models.family import Family, register_family


@register_family
class Gemma3(Family):
    """`Gemma3ForConditionalGeneration`."""

    model_type = "gemma3"
    model_class = "Gemma3ForConditionalGeneration"
    token_types = "token_type_ids"

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """Each run of image tokens is a block, where the model is told the token types."""
        from transformers.models.gemma3.modeling_gemma3 import get_block_sequence_ids_for_mask

        kinds = inputs.get("token_type_ids")
        return None if kinds is None else get_block_sequence_ids_for_mask(kinds).long()

    def tiny(self) -> Any:
        """Its projector starts at zero in transformers, so that every picture would look the same."""
        model = super().tiny()
        nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)
        return model
