"""Labels of a prompt follow the rows that are left, so that the model's own head computes the loss."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor

from foveate.defaults import IGNORED
from foveate.errors import InputError, UnsupportedError
from foveate.runtime.prompt import Placeholders
from foveate.runtime.rows import Rows


class Labels:
    """Labels that a head is handed before anyone knows which rows will be left.

    Attributes:
        of_prompt: (B, N), as given.
        of_head: what the head is handed instead; it becomes (B, M) once the rows are known, before the
            head looks at it.
    """

    def __init__(self, of_prompt: Int[Tensor, "B N"]) -> None:
        self.of_prompt, self.of_head = of_prompt, of_prompt.clone()

    @classmethod
    def of(cls, call: Mapping[str, Any], visual: Placeholders) -> "Labels | None":
        """The labels of a call of the whole model; None if it has none, or no pictures.

        Args:
            call: its arguments.
            visual: places of the prompt's visual tokens.

        Raises:
            UnsupportedError: a visual token has a label; labels that are shifted already; a loss over the
                routers of all layers; rows of logits that are left out.
            InputError: labels of another shape than the prompt.
        """
        labels = call.get("labels")
        if not visual:
            return None
        if call.get("shift_labels") is not None:
            raise UnsupportedError(
                "shift_labels are laid out for rows that a reduction may take out; pass labels"
            )
        if call.get("output_router_logits"):
            raise UnsupportedError(
                "a loss over the routers counts the same rows in every layer, and a reduction leaves "
                "each its own; pass output_router_logits=False"
            )
        if labels is None:
            return None
        shape = next(iter(visual.values())).shape
        if labels.shape != shape:
            raise InputError(
                f"labels must be as the prompt, {tuple(shape)}, got {tuple(labels.shape)}"
            )
        if not (isinstance(call.get("logits_to_keep", 0), int) and not call.get("logits_to_keep")):
            raise UnsupportedError("labels need the logits of all rows; leave out logits_to_keep")
        has_label = labels.cpu() != IGNORED
        labelled = sum(int((has_label & mask).sum()) for mask in visual.here.values())
        if labelled:
            raise UnsupportedError(
                f"{labelled} visual tokens have a label, and may be gone from the logits; give them "
                f"{IGNORED}, as TRL does where rows are prompt and completion"
            )
        return cls(labels)

    def follow(self, rows: Rows) -> None:
        """The last layer has computed these rows: their labels are the head's."""
        origin, valid = rows.origin.to(self.of_prompt.device), rows.valid.to(self.of_prompt.device)
        # the tensor that the head holds takes another shape
        self.of_head.data = self.of_prompt.gather(1, origin).masked_fill(~valid, IGNORED)
