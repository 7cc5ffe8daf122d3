"""Positions of reduced pictures on a grid (M-RoPE): a token that stays keeps its place, and so does text.

vLLM computes a prompt's positions before its pictures are encoded, when it is not known which tokens
stay. So every placeholder of a reduced picture gets the picture's first position, and each token brings
along how far it stands from there, as columns behind its features: multiples of 256 first, then the rest,
for bfloat16 holds no larger whole numbers exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.serving.vllm.layout import Layout

COLUMNS = 6  # time, row and column, in two digits
BASE = 256


@dataclass(frozen=True)
class Block:
    """A picture, or a frame with text around it, in a prompt.

    Attributes:
        start: its first placeholder.
        length: how many it has.
        offsets: time, row and column of each token of the whole, from 0.
        is_reduced: whether its tokens bring their offsets along.
    """

    start: int
    length: int
    offsets: Int[Tensor, "n 3"]
    is_reduced: bool


def grid_offsets(layout: Layout, time_step: float) -> Int[Tensor, "n 3"]:
    """Time, row and column of each token, from 0.

    Args:
        layout: whose groups are time steps, one behind the other.
        time_step: how far one is from the next; 0 where each has a position of its own in the prompt.
    """
    places = torch.cat([torch.cartesian_prod(*map(torch.arange, grid)) for grid in layout.grids])
    time = (layout.group.double() * time_step).long()
    return torch.cat([time[:, None], places.view(-1, 2)], dim=1)


def prompt_positions(length: int, blocks: Iterable[Block]) -> tuple[Int[Tensor, "3 length"], int]:
    """The positions of a prompt, and by how much those of an answer are ahead of its length.

    Args:
        length: of the prompt in tokens.
        blocks: its pictures and frames, in order.
    """
    parts: list[Tensor] = []
    base = done = 0
    for block in blocks:
        parts.append(_in_line(base, block.start - done))
        base += block.start - done
        here = (
            torch.zeros(3, block.length, dtype=torch.long) if block.is_reduced else block.offsets.T
        )
        parts.append(here + base)
        base += int(block.offsets.max()) + 1
        done = block.start + block.length
    parts.append(_in_line(base, length - done))
    return torch.cat(parts, dim=1), base - done


def _in_line(base: int, count: int) -> Int[Tensor, "3 count"]:
    return torch.arange(base, base + count).expand(3, -1)


def runs(tokens: Sequence[int], token: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Where a token follows itself, from `start` to before `stop`: first place and length of each."""
    found: list[tuple[int, int]] = []
    for place in range(start, stop):
        if tokens[place] != token:
            continue
        if found and sum(found[-1]) == place:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((place, 1))
    return found


def with_offsets(
    features: Float[Tensor, "k D"], offsets: Int[Tensor, "k 3"]
) -> Float[Tensor, "k E"]:
    """Features with their offsets as columns behind them."""
    digits = torch.cat([offsets // BASE, offsets % BASE], dim=1)
    return torch.cat([features, digits.to(features)], dim=1)


def offsets_of(features: Float[Tensor, "k E"]) -> Int[Tensor, "k 3"]:
    """The offsets that `with_offsets` put behind features."""
    high, low = features[:, -COLUMNS:].long().chunk(2, dim=1)
    return high * BASE + low
