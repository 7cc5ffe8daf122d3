"""Which part of the prompt is still needed after a layer: hide text or pictures, compare the answers."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from foveate.ask.vlm import VLM


@torch.no_grad()
def agreement(vlm: VLM, prompts: Sequence[dict[str, Any]], *, hide: str) -> list[float]:
    """For each layer the share of prompts whose first answer token stays when tokens are hidden after it.

    Args:
        vlm: the model.
        prompts: of one sample each.
        hide: "text": all of the prompt's text but its last token; "visual": all visual tokens.
    """
    layers = vlm.family.language_model(vlm.model.model).layers
    placeholders = list(vlm.family.placeholders(vlm.model.config).values())
    same = [0] * len(layers)
    for inputs in prompts:
        ids = inputs["input_ids"]
        visual = torch.isin(ids, torch.tensor(placeholders, device=ids.device))
        hidden = visual if hide == "visual" else ~visual
        hidden[:, -1] = False  # the answer is read off the last token
        first = _first_token(vlm, inputs, hidden, len(layers))
        for layer in range(len(layers)):
            same[layer] += _first_token(vlm, inputs, hidden, layer) == first
    return [count / len(prompts) for count in same]


def _first_token(vlm: VLM, inputs: dict[str, Any], hidden: Bool[Tensor, "1 N"], after: int) -> int:
    """The most likely first token, with some tokens hidden from all layers behind `after`."""
    layers = vlm.family.language_model(vlm.model.model).layers

    def cover(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "attention_mask": _covered(kwargs["attention_mask"], hidden)}

    with ExitStack() as stack:
        for layer in layers[after + 1 :]:
            stack.callback(layer.register_forward_pre_hook(cover, with_kwargs=True).remove)
        logits = vlm.model(**inputs, use_cache=False, logits_to_keep=1).logits
    return int(logits[0, -1].argmax())


def _covered(mask: Tensor | None, hidden: Bool[Tensor, "1 N"]) -> Tensor:
    """The mask (1, 1, N, N) of a layer in which hidden tokens are seen only by themselves."""
    count = hidden.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=hidden.device)
    visible = ~hidden[:, None, None, :] | itself
    if mask is None:
        return visible & torch.ones_like(itself).tril()
    if mask.dtype == torch.bool:
        return mask & visible
    return mask.masked_fill(~visible, torch.finfo(mask.dtype).min)
