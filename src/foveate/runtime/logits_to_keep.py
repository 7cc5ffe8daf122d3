"""`logits_to_keep` names rows of the prompt; a reduced prompt has them at other places."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import InputError, UnsupportedError
from foveate.runtime.prompt import Placeholders
from foveate.runtime.rows import Rows, gather_rows


@dataclass
class LogitsToKeep:
    """Rows whose logits are asked for.

    Attributes:
        rows: (K,), of the prompt; on the CPU.
        length: N, rows of the prompt.
        of_head: the `logits_to_keep` that the head gets instead: all of the K rows that it is handed.
    """

    rows: Int[Tensor, " K"]
    of_head: Any
    length: int

    @classmethod
    def of(cls, call: Mapping[str, Any], visual: Placeholders) -> "LogitsToKeep | None":
        """The rows that a call of the whole model asks for; None if they are the last ones anyway.

        Args:
            call: its arguments.
            visual: places of the prompt's visual tokens, by modality.

        Raises:
            UnsupportedError: rows that a reduction may take out, or that are padding or masked.
            InputError: rows that the prompt does not have.
        """
        to_keep = call.get("logits_to_keep")
        if not visual or to_keep is None or (isinstance(to_keep, int) and to_keep == 0):
            return None
        text = ~torch.stack(list(visual.here.values())).any(0)
        if visual.valid is not None:
            text = text & visual.valid
        rows = _rows(to_keep, text.shape[1])
        missing = rows[~text[:, rows].all(0)].tolist()
        if missing:
            raise UnsupportedError(
                f"logits_to_keep asks for rows {missing[:8]} of the prompt, which are visual tokens, "
                "padding or masked in some sample and may be gone; ask for rows of text, or for none and "
                "take them from the reduced logits"
            )
        if isinstance(to_keep, int):
            return cls(rows, to_keep, text.shape[1])
        return cls(rows, torch.arange(len(rows), device=to_keep.device), text.shape[1])

    def pick(self, states: Float[Tensor, "B M D"], last_rows: Rows) -> Float[Tensor, "B K D"]:
        """The states of these rows, of those that the last layer computed; an LLM may have cut them."""
        if isinstance(self.of_head, int) and states.shape[1] == len(self.rows):
            return states
        if not len(self.rows):
            return states[:, :0]
        origin, valid = last_rows.origin, last_rows.valid
        place = torch.zeros(len(origin), self.length + 1, dtype=torch.long, device=origin.device)
        here = torch.arange(origin.shape[1], device=origin.device).expand_as(origin)
        place.scatter_(1, origin.where(valid, self.length), here)
        return gather_rows(states, place[:, self.rows.to(place.device, non_blocking=True)])


def _rows(to_keep: Any, count: int) -> Int[Tensor, " K"]:
    """Which of a prompt's `count` rows are asked for, from 0.

    Raises:
        UnsupportedError: anything but a count or a 1-D tensor of rows.
        InputError: a row that the prompt does not have.
    """
    if isinstance(to_keep, int) and to_keep > 0:
        return torch.arange(max(count - to_keep, 0), count)
    if not isinstance(to_keep, Tensor) or to_keep.dim() != 1 or to_keep.dtype == torch.bool:
        raise UnsupportedError(
            f"logits_to_keep must be a count or a 1-D tensor of rows inside a reduce(), got {to_keep!r}"
        )
    to_keep = to_keep.cpu()
    if bool(((to_keep < -count) | (to_keep >= count)).any()):
        raise InputError(f"logits_to_keep asks for rows {to_keep.tolist()} of a prompt of {count}")
    return to_keep.long() % count
