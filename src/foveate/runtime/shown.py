"""Which rows of a cache are visual tokens, and of which prompt: what a budget of a history goes by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

TEXT = -1


@dataclass(frozen=True)
class Shown:
    """Where the visual tokens of prompts are among cached rows.

    Attributes:
        prompt: for each layer (B, K), of its first rows the number of the prompt whose visual token each
            is, from 0; -1 for text, as all rows behind these are.
        prompts: how many prompts with pictures there were.
    """

    prompt: list[Int[Tensor, "B _"]]
    prompts: int

    @classmethod
    def of_prompt(cls, visual: list[Bool[Tensor, "B _"]]) -> "Shown":
        """Of one prompt, by what each layer holds of it."""
        made = {id(rows): torch.where(rows, 0, TEXT) for rows in visual}  # layers share tensors
        return cls([made[id(rows)] for rows in visual], 1)

    def of_rows(self, layer: int, count: int, last: int) -> Int[Tensor, "B {last}"]:
        """For the last rows of a layer that holds so many."""
        known = self.prompt[layer]
        return F.pad(known, (0, count - known.shape[1]), value=TEXT)[:, count - last :]

    def behind(self, before: "Shown | None", held: list[int]) -> "Shown":
        """The same behind what a cache holds, so many rows in each layer.

        Args:
            before: of these; None if nothing is known to be visual among them.
            held: see above.
        """
        made: dict[tuple[int, int, int], Tensor] = {}
        joined, first = [], 0 if before is None else before.prompts
        for layer, (own, count) in enumerate(zip(self.prompt, held, strict=True)):
            alike = id(own), count, 0 if before is None else id(before.prompt[layer])
            if alike not in made:
                old = own.new_full((len(own), count), TEXT)
                old = old if before is None else before.of_rows(layer, count, count)
                made[alike] = torch.cat([old, torch.where(own == TEXT, own, own + first)], dim=1)
            joined.append(made[alike])
        return Shown(joined, first + self.prompts)

    def rearranged(self, pick: Callable[[Tensor], Tensor]) -> "Shown":
        """Of other samples, or of the same in another order."""
        picked = {id(rows): pick(rows) for rows in self.prompt}
        return Shown([picked[id(rows)] for rows in self.prompt], self.prompts)

    def left(
        self, keep: Sequence[Tensor | None], held: Sequence[int], lengths: Sequence[int]
    ) -> "Shown":
        """Of the rows that are left when some are dropped.

        Args:
            keep: for each layer the rows left of the last that it held; None where all are.
            held: how many rows it held.
            lengths: how many rows it had computed.
        """
        made: dict[tuple[int, int, int, int], Tensor] = {}
        left = []
        for layer, (own, kept, last) in enumerate(zip(self.prompt, keep, held, strict=True)):
            alike = id(own), id(kept), last, lengths[layer]
            if alike not in made:
                known = self.of_rows(layer, lengths[layer], last)
                made[alike] = own if kept is None else of_last(known, last, kept)
            left.append(made[alike])
        return Shown(left, self.prompts)


def of_last(
    old: Shaped[Tensor, "B K"], last: int, kept: Int[Tensor, " M"]
) -> Shaped[Tensor, "B M"]:
    """Some of the last so many columns."""
    return old[:, old.shape[1] - last :][:, kept.to(old.device)]
