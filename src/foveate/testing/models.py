"""Tiny models and prompts, on which the contract is checked."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from foveate.models.family import families
from foveate.reduction import Given, as_reduction
from foveate.runtime.run import Run

GREEDY = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False}
CASES = tuple((name, kind) for name, family in families().items() for kind in family.modalities)


def tiny(
    model_type: str, modality: str = "image", device: str = "cpu"
) -> tuple[Any, dict[str, Tensor]]:
    """A tiny random model of a family, the same every time, and a prompt with one picture.

    Args:
        model_type: of the family.
        modality: of the picture, "image" or "video".
        device: where both are put; they are drawn on the CPU, so they are the same everywhere.
    """
    family = families()[model_type]
    torch.manual_seed(0)
    model = family.tiny().to(device)
    model.generation_config.pad_token_id = 0
    return model, beside(model, family.tiny_inputs(model.config, [[(modality, 0)]]))


def beside(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A prompt on the model's device, its pixels in the model's dtype."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }


def reduce(model: Any, reduction: Given) -> AbstractContextManager[Run]:
    """`foveate.reduce`, imported on the first call: transformers' modelling code takes seconds."""
    from foveate.runtime.reducer import reduce as enter

    return enter(model, as_reduction(reduction))


def not_ending(model: Any, logits: Tensor) -> Tensor:
    """Logits without those of tokens that end a text, as `generate` has them before its least length."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends] if ends is not None else []
    return logits.index_fill(-1, logits.new_tensor(ends, dtype=torch.long), -torch.inf)
