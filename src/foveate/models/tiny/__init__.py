"""Tiny random models and prompts, so that every family can be tested in a blink.

A picture is drawn as the family's processor would hand it over: token ids with their wrapping, and
tensors. `prompt` lays several samples side by side and pads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

TINY_IMAGE, TINY_VIDEO, TINY_START, TINY_END = (
    120,
    121,
    122,
    123,
)  # placeholders and what wraps them
TINY_AUDIO = 119
TINY_LLM: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
TINY_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
}


@dataclass(frozen=True)
class Picture:
    """One image or clip of a prompt.

    Attributes:
        ids: its tokens in the prompt: placeholders, and whatever the family puts around them.
        tensors: what its processor adds for it: pixels, sizes, grids.
    """

    ids: list[int]
    tensors: Mapping[str, Tensor]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Seeded noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompt(
    samples: Sequence[Sequence[Picture]],
    collate: Callable[[Sequence[Sequence[Picture]]], dict[str, Tensor]],
    padding: Literal["left", "right"] = "left",
) -> dict[str, Tensor]:
    """Samples of text with pictures in it, padded to one length.

    Args:
        samples: the pictures of each sample; before, between and after them stands text.
        collate: puts the tensors of all pictures together.
        padding: the side on which shorter samples are padded.

    Returns:
        `input_ids` and `attention_mask`, each (B, N), and what `collate` made.
    """
    rows = []
    for pictures in samples:
        row = [1, 2, 3]
        for picture in pictures:
            row += [*picture.ids, 10]
        rows.append([*row, 4, 5, 6, 7])
    longest = max(len(row) for row in rows)
    ids, mask = [], []
    for row in rows:
        fill, ones = [0] * (longest - len(row)), [1] * len(row)
        ids.append(fill + row if padding == "left" else row + fill)
        mask.append(fill + ones if padding == "left" else ones + fill)
    text = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    return {**text, **collate(samples)}


def stacked(
    samples: Sequence[Sequence[Picture]], pad: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Tensor]:
    """Tensors of all pictures one after another along their first dimension.

    Args:
        samples: the pictures of each sample.
        pad: for a tensor whose pictures differ in shape, the dimensions to fill up with zeros.
    """
    pictures = [picture for sample in samples for picture in sample]
    names = dict.fromkeys(name for picture in pictures for name in picture.tensors)
    return {
        name: torch.cat(
            padded(
                [p.tensors[name] for p in pictures if name in p.tensors], (pad or {}).get(name, ())
            )
        )
        for name in names
    }


def padded(parts: Sequence[Tensor], dims: Sequence[int]) -> list[Tensor]:
    """Tensors made equally large along `dims` with zeros at the end."""
    sizes = {dim: max(part.shape[dim] for part in parts) for dim in dims}
    grown = []
    for part in parts:
        larger = part.new_zeros([sizes.get(dim, side) for dim, side in enumerate(part.shape)])
        larger[tuple(slice(side) for side in part.shape)] = part
        grown.append(larger)
    return grown
