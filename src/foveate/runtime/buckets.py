"""What methods before the LLM may need, and the batches of groups that they are called with.

| need | what a method is handed for B groups of N tokens |
| --- | --- |
| attention | (B, N): attention that each token's patches receive in the vision layer that makes them |
| keys | (B, N, K): keys of that layer; for a method at the encoder, of the layer that reads it |
| query | (B, T, D): embeddings of the text behind the sample's last visual token, or of all its text |
| grid | rows and columns of the group |
| frames | groups are whole clips, and this is how many frames they have; an image has one |
| sample | groups are whole samples: all visual tokens of each, in reading order |
| number | (B,): number of the group in its sample, from 0 |
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.runtime.visual_tokens import Visual


@dataclass(frozen=True)
class Bucket:
    """Groups that are compressed together, because all their tensors have one shape.

    Attributes:
        members: (G, n), the tokens of each group, as indices into the V visual tokens.
        groups: (G,), the groups' numbers.
        homes: the sample of each group.
        needed: what the method needs, by name.
    """

    members: Int[Tensor, "G n"]
    groups: Int[Tensor, " G"]
    homes: list[int]
    needed: dict[str, Any]


def buckets(
    embeds: Float[Tensor, "B N D"],
    visual: Visual,
    valid: Bool[Tensor, "B N"],
    needs: tuple[str, ...],
) -> list[Bucket]:
    """All groups of a batch with what a method needs, groups of one shape together.

    Args:
        embeds: the LLM's input.
        visual: where the visual tokens are, their groups, and what the encoder gives of them.
        valid: (B, N), False for padding.
        needs: the method's `needs`.

    Raises:
        UnsupportedError: the method needs a question and a sample has no text, or it needs a signal that
            the encoder did not give.
    """
    signals = visual.encoder_signals
    missing = {"attention", "keys"} & set(needs) - set(signals)
    if missing and visual.encoder is None:
        raise UnsupportedError(
            f"this method needs the encoder's {' and '.join(sorted(missing))}, which were not seen"
        )
    sample, device = visual.sample, visual.mask.device
    unit = visual.clip if "frames" in needs else sample if "sample" in needs else visual.group
    counts = torch.bincount(unit).tolist()
    members = unit.argsort(stable=True).split(counts)
    numbers = [number for number, count in enumerate(counts) if count]
    homes = sample[torch.stack([members[number][0] for number in numbers])].tolist()
    texts = questions(embeds, visual.here, valid.cpu()) if "query" in needs else []
    alike: dict[tuple[Any, ...], list[int]] = {}
    shapes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, home in zip(numbers, homes, strict=True):
        shape: dict[str, Any] = {}
        if "grid" in needs:
            shape["grid"] = visual.grid[number]
        if "frames" in needs:
            shape["frames"] = len(visual.group[members[number]].unique())
        kind = (counts[number], *shape.values(), len(texts[home]) if texts else 0)
        alike.setdefault(kind, []).append(number)
        shapes[kind] = shape
    home_of = dict(zip(numbers, homes, strict=True))
    made = []
    for kind, same in alike.items():
        tokens = torch.stack([members[number] for number in same]).to(device, non_blocking=True)
        needed = dict(shapes[kind])
        needed.update({name: signals[name][tokens] for name in signals if name in needs})
        if "query" in needs:
            needed["query"] = torch.stack([texts[home_of[number]] for number in same])
        if "number" in needs:
            before = [
                sum(home_of[n] == home_of[number] for n in numbers if n < number) for number in same
            ]
            needed["number"] = torch.tensor(before).to(device, non_blocking=True)
        groups = torch.tensor(same).to(device, non_blocking=True)
        made.append(Bucket(tokens, groups, [home_of[number] for number in same], needed))
    return made


def questions(
    embeds: Float[Tensor, "B N D"], visual: Bool[Tensor, "B N"], valid: Bool[Tensor, "B N"]
) -> list[Float[Tensor, "_ D"]]:
    """For each sample the text after its last visual token, or all of its text if none follows.

    Args:
        embeds: the LLM's input.
        visual: (B, N), True at visual tokens; on the CPU, as `valid` is.
        valid: (B, N), False for padding.

    Raises:
        UnsupportedError: a sample with visual tokens has no text.
    """
    text = valid & ~visual
    behind = text & (visual.flip(1).long().cumsum(1).flip(1) == 0)
    chosen = torch.where(behind.any(1, keepdim=True), behind, text)
    if bool((visual.any(1) & ~chosen.any(1)).any()):
        raise UnsupportedError("this method needs a question, but a sample has no text")
    places = [rows.nonzero()[:, 0].to(embeds.device, non_blocking=True) for rows in chosen]
    return [row[rows] for row, rows in zip(embeds, places, strict=True)]
