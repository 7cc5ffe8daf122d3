"""ERNIE 4.5 VL: visual tokens have experts of their own, and so does what wraps them."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from foveate.models.family import Family, register_family
from foveate.models.tiny import TINY_END, TINY_START


@register_family
class Ernie4_5VLMoe(Family):
    """`Ernie4_5_VLMoeForConditionalGeneration`: a token of a clip is two time steps."""

    model_type = "ernie4_5_vl_moe"
    model_class = "Ernie4_5_VLMoeForConditionalGeneration"
    modalities = ("image", "video")
    grid_positions = True
    token_types = "mm_token_type_ids"

    def tiny_inputs(
        self,
        config: Any,
        samples: Sequence[Sequence[tuple[str, int]]],
        padding: Literal["left", "right"] = "left",
    ) -> dict[str, Tensor]:
        """With the experts of each token, as the processor says them."""
        inputs = super().tiny_inputs(config, samples, padding)
        wraps = torch.isin(inputs["input_ids"], torch.tensor([TINY_START, TINY_END]))
        experts = torch.where(wraps, 1, inputs["mm_token_type_ids"])
        return {**inputs, "moe_mm_token_type_ids": experts}
