"""Whether an attention mask is as expected, without waiting for the device at every token."""

import torch
from jaxtyping import Bool
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.runtime.timing import EVENTS, Moment


class MaskCheck:
    """Compares the mask of a forward with the one that goes on from what is cached.

    On a GPU the answer is copied while the forward runs; it is there when the next one begins.

    Attributes:
        is_late: whether it is.

    Args:
        given: the mask of all tokens, cached and new.
        cached: that of the cached ones.
    """

    def __init__(self, given: Bool[Tensor, "B K"], cached: Bool[Tensor, "B N"]) -> None:
        known, self._new = given[:, : cached.shape[1]], given[:, cached.shape[1] :]
        self.is_late = given.device.type in EVENTS
        answer = torch.stack([(known != cached).any(), ~self._new.all()])
        self._answer = answer.to("cpu", non_blocking=self.is_late)
        self._done, self._is_told = Moment(given.device), False

    def refuse_changed(self) -> None:
        """Refuse a mask of other cached tokens, once.

        Raises:
            UnsupportedError: it hides or shows some that it did not before.
        """
        self._done.wait()
        was_told, self._is_told = self._is_told, True
        if bool(self._answer[0]) and not was_told:
            raise UnsupportedError(
                "the attention mask hides or shows tokens that are in the reduced cache already; what "
                "was merged with what cannot be undone: start with an empty cache"
            )

    def hidden(self, *, is_taken: bool) -> Bool[Tensor, "B q"] | None:
        """The mask of the new tokens if some are padding; None if none is.

        Args:
            is_taken: whether they may be.

        Raises:
            UnsupportedError: as of `refuse_changed`, or some are and may not be.
        """
        self.refuse_changed()
        if not bool(self._answer[1]):
            return None
        if not is_taken:
            raise UnsupportedError(
                "padding behind what is cached cannot be told to layers without attention, which take "
                "the sequence as it comes; go on with texts of one length, or one sample at a time"
            )
        return self._new
