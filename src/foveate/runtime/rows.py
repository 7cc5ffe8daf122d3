"""Rows: which tokens a layer computes. Dropping tokens, in a padded batch, is choosing rows."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of B samples, padded to N.

    Attributes:
        origin: (B, N), the row of the prompt that each came from.
        valid: (B, N), False for padding.
        visual: (B, N), True for visual tokens.
        pad_left: the side on which shorter samples are padded.
    """

    origin: Int[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]
    visual: Bool[Tensor, "B N"]
    pad_left: bool

    @classmethod
    def of_prompt(cls, valid: Bool[Tensor, "B N"], visual: Bool[Tensor, "B N"]) -> "Rows":
        """All rows of a prompt; padding is on the left unless a sample ends in it."""
        origin = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
        return cls(origin, valid, visual & valid, pad_left=bool(valid[:, -1].all()))

    @cached_property
    def mask(self) -> Bool[Tensor, "B N"] | None:
        """The 2D attention mask, None where nothing is padding (so that SDPA stays causal and fast)."""
        return None if min(self.lengths) == self.valid.shape[1] else self.valid

    @cached_property
    def visual_counts(self) -> list[int]:
        """Visual tokens of each sample."""
        return self.visual.sum(1).tolist()

    @cached_property
    def lengths(self) -> list[int]:
        """Rows of each sample that are not padding."""
        return self.valid.sum(1).tolist()

    def last(self, count: int) -> "Rows":
        """The last so many of every sample, padding among them."""
        origin, valid, visual = (
            part[:, -count:] for part in (self.origin, self.valid, self.visual)
        )
        return Rows(origin, valid, visual, self.pad_left)

    def select(self, keep: Bool[Tensor, "B N"]) -> tuple[Int[Tensor, "B M"], "Rows"]:
        """Keep some rows, in their order.

        Args:
            keep: (B, N), the rows to keep; padding never is.

        Returns:
            The rows' indices (B, M), M the longest sample's count, and the rows left.
        """
        keep = keep & self.valid
        longest = int(keep.sum(1).max())
        # a stable sort moves what is kept to one side and leaves its order alone
        order = (keep if self.pad_left else ~keep).to(torch.uint8).argsort(dim=1, stable=True)
        index = order[:, -longest:] if self.pad_left else order[:, :longest]
        left = Rows(
            self.origin.gather(1, index),
            keep.gather(1, index),
            (self.visual & keep).gather(1, index),
            self.pad_left,
        )
        return index, left


def padding_first(valid: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"] | None:
    """The order of rows that puts padding before all others; None where it is there already."""
    if bool((valid[:, 1:] >= valid[:, :-1]).all()):
        return None
    return valid.to(torch.uint8).argsort(dim=1, stable=True)


def gather_rows(states: Tensor, index: Int[Tensor, "B M"]) -> Tensor:
    """Rows `index` of (..., B or 1, N, D) states: (..., B, M, D)."""
    lead, width, index = states.shape[:-3], states.shape[-1], index.to(states.device)
    states = states.expand(*lead, index.shape[0], *states.shape[-2:])
    return states.gather(-2, index[..., None].expand(*lead, *index.shape, width))


def top_rows(
    score: Tensor, candidates: Bool[Tensor, "B N"], counts: list[int]
) -> Bool[Tensor, "B N"]:
    """For each sample its `counts[b]` best-scored candidates; the earlier wins a tie."""
    ranked = score.masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    quota = torch.tensor(counts, device=score.device)[:, None]
    return candidates & (place < quota)
