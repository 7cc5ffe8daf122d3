"""Rows: which tokens a layer computes. Dropping tokens, in a padded batch, is choosing rows."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of B samples, padded to N. How many there are is known without asking the device.

    Attributes:
        origin: (B, N), the row of the prompt that each came from.
        valid: (B, N), False for padding.
        visual: (B, N), True for visual tokens.
        pad_left: the side on which shorter samples are padded.
        lengths: rows of each sample that are not padding.
        visual_counts: visual tokens of each sample.
        is_one_sided: whether all padding is on that side; a prompt's may be anywhere.
    """

    origin: Int[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]
    visual: Bool[Tensor, "B N"]
    pad_left: bool
    lengths: list[int]
    visual_counts: list[int]
    is_one_sided: bool = False

    @classmethod
    def of_prompt(
        cls,
        valid: Bool[Tensor, "B N"],
        visual: Bool[Tensor, "B N"],
        here: tuple[Bool[Tensor, "B N"], Bool[Tensor, "B N"]] | None = None,
    ) -> "Rows":
        """All rows of a prompt; padding is on the left unless a sample ends in it.

        Args:
            valid: (B, N), False for padding.
            visual: (B, N), True for visual tokens.
            here: both on the CPU, if they are known there.
        """
        valid_here, visual_here = here or (valid.cpu(), visual.cpu())
        return cls(
            origin=torch.arange(valid.shape[1], device=valid.device).expand(valid.shape),
            valid=valid,
            visual=visual & valid,
            pad_left=bool(valid_here[:, -1].all()),
            lengths=valid_here.sum(1).tolist(),
            visual_counts=(visual_here & valid_here).sum(1).tolist(),
        )

    @property
    def mask(self) -> Bool[Tensor, "B N"] | None:
        """The 2D attention mask, None where nothing is padding (so that SDPA stays causal and fast)."""
        return None if min(self.lengths) == self.valid.shape[1] else self.valid

    @cached_property
    def padding_first(self) -> Int[Tensor, "B N"] | None:
        """The order of rows that puts padding before all others; None where it is there already."""
        if self.mask is None or (self.pad_left and self.is_one_sided):
            return None
        if not self.is_one_sided and bool((self.valid[:, 1:] >= self.valid[:, :-1]).all()):
            return None
        return self.valid.to(torch.uint8).argsort(dim=1, stable=True)

    def last(self, count: int) -> "Rows":
        """The last so many of every sample, padding among them."""
        if count not in self._last:
            parts = (part[:, -count:] for part in (self.origin, self.valid, self.visual))
            origin, valid, visual = parts
            self._last[count] = Rows(
                origin, valid, visual, self.pad_left, self.real_among_last(count),
                visual.sum(1).tolist(), self.is_one_sided,
            )  # fmt: skip
        return self._last[count]

    @cached_property
    def _last(self) -> dict[int, "Rows"]:
        return {}

    def real_among_last(self, count: int) -> list[int]:
        """How many of the last so many rows of each sample are not padding."""
        padded = self.valid.shape[1] - count
        if not self.is_one_sided and padded and self.mask is not None:
            return self.valid[:, padded:].sum(1).tolist()
        if self.pad_left:
            return [min(length, count) for length in self.lengths]
        return [max(length - padded, 0) for length in self.lengths]

    def select(
        self, keep: Bool[Tensor, "B N"], lengths: list[int], visual_counts: list[int]
    ) -> tuple[Int[Tensor, "B M"], "Rows"]:
        """Keep some rows, in their order.

        Args:
            keep: (B, N), the rows to keep; padding never is.
            lengths: how many that are, of each sample.
            visual_counts: how many of them are visual.

        Returns:
            The rows' indices (B, M), M the longest sample's count, and the rows left.
        """
        keep, longest = keep & self.valid, max(lengths)
        # a stable sort moves what is kept to one side and leaves its order alone
        order = (keep if self.pad_left else ~keep).to(torch.uint8).argsort(dim=1, stable=True)
        index = order[:, order.shape[1] - longest :] if self.pad_left else order[:, :longest]
        left = Rows(
            self.origin.gather(1, index),
            keep.gather(1, index),
            (self.visual & keep).gather(1, index),
            self.pad_left,
            lengths,
            visual_counts,
            is_one_sided=True,
        )
        return index, left


def gather_rows(states: Tensor, index: Int[Tensor, "B M"]) -> Tensor:
    """Rows `index` of (..., B or 1, N, D) states: (..., B, M, D)."""
    lead, width, index = states.shape[:-3], states.shape[-1], index.to(states.device)
    states = states.expand(*lead, index.shape[0], *states.shape[-2:])
    return states.gather(-2, index[..., None].expand(*lead, *index.shape, width))


def top_rows(
    score: Tensor, candidates: Bool[Tensor, "B N"], counts: list[int]
) -> Bool[Tensor, "B N"]:
    """For each sample its `counts[b]` best-scored candidates, or all; the earlier wins a tie."""
    ranked = score.argsort(dim=1, descending=True, stable=True)
    # candidates before all others, whatever their scores
    first = (~candidates).gather(1, ranked).to(torch.uint8).argsort(dim=1, stable=True)
    ranked = ranked.gather(1, first)
    place = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    quota = torch.tensor(counts).to(score.device, non_blocking=True)[:, None]
    return candidates & (place < quota)
