"""What a call asks of the model's head, in terms of the rows that a reduction leaves."""

from collections.abc import Mapping
from typing import Any

from foveate.runtime.labels import Labels
from foveate.runtime.logits_to_keep import LogitsToKeep
from foveate.runtime.prompt import Placeholders
from foveate.runtime.rows import Rows
from foveate.runtime.seams import Signature


class Asked:
    """What one call asks of the head: logits of some rows, and a loss.

    Args:
        call: the whole model's arguments.
        visual: places of the prompt's visual tokens; empty without pictures.
        head: the model's signature.

    Raises:
        UnsupportedError: rows that may be gone, or labels that cannot follow.
        InputError: rows that the prompt does not have, or labels of another shape.
    """

    def __init__(self, call: Mapping[str, Any], visual: Placeholders, head: Signature) -> None:
        self.last_rows: Rows | None = None
        self.labels = Labels.of(call, visual)
        self.logits_to_keep: LogitsToKeep | None = None
        if "logits_to_keep" in head.names:  # others say all logits, whatever is asked
            self.logits_to_keep = LogitsToKeep.of(call, visual)

    @property
    def changed(self) -> dict[str, Any]:
        """What the head is given instead."""
        changed = {}
        if self.logits_to_keep is not None:
            changed["logits_to_keep"] = self.logits_to_keep.of_head
        if self.labels is not None:
            changed["labels"] = self.labels.of_head
        return changed

    def follow(self, rows: Rows) -> None:
        """The last layer has computed these rows."""
        self.last_rows = rows
        if self.labels is not None:
            self.labels.follow(rows)

    def pick(self, output: Any) -> Any:
        """The core's output for the head: the rows whose logits are asked for; None to leave it alone."""
        if self.logits_to_keep is None or self.last_rows is None:
            return None
        states = self.logits_to_keep.pick(output[0], self.last_rows)
        if isinstance(output, tuple):
            return (states, *output[1:])
        output.last_hidden_state = states
        return output
