"""Idefics2, Idefics3, SmolVLM: an entry of the features holds all tiles of a sample, without padding."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from foveate.models.family import Family, register_family


@register_family
class Idefics3(Family):
    """`Idefics3ForConditionalGeneration`."""

    model_type = "idefics3"
    model_class = "Idefics3ForConditionalGeneration"

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """A group a tile, all of one length."""
        return [torch.arange(len(entry)) // core.image_seq_len for entry in pooled]


@register_family
class SmolVLM(Idefics3):
    """`SmolVLMForConditionalGeneration`, SmolVLM2 included; its processor lays clips out as images."""

    model_type = "smolvlm"
    model_class = "SmolVLMForConditionalGeneration"


@register_family
class Idefics2(Idefics3):
    """`Idefics2ForConditionalGeneration`; learned queries read the patches: no token is a patch."""

    model_type = "idefics2"
    model_class = "Idefics2ForConditionalGeneration"
    since = "5.24"  # before, features came in one row
    unwatched = "which vision layer to watch: none in idefics2, whose tokens are queries"
