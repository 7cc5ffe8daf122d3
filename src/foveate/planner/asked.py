"""What a model refused while a plan for it was made."""

from collections.abc import Sequence

from foveate.cost.request import Request
from foveate.errors import UnsupportedError
from foveate.models.limits import Limits
from foveate.reduction import Reduction


class Asked:
    """The limits of a model, and what they refused.

    Args:
        limits: None where nothing is refused.
        requests: prompts whose costs must be known.
    """

    def __init__(self, limits: Limits | None, requests: Sequence[Request] = ()) -> None:
        self.limits, self.requests = limits, requests
        self._reasons: list[str] = []

    def refusal(self, reduction: Reduction) -> str:
        """Why the model refuses a reduction, or why its encoder's cost is not known; "" if neither."""
        reason = "" if self.limits is None else self.limits.refusal(reduction)
        if not reason and reduction.encode is not None:
            reason = self._unknown(reduction)
        if reason:
            self._reasons.append(reason)
        return reason

    def _unknown(self, reduction: Reduction) -> str:
        try:
            for request in self.requests:
                request.cost(reduction)
        except UnsupportedError as error:
            return str(error)
        return ""

    @property
    def told(self) -> str:
        """That something was left out, and the first reason; "" if nothing was."""
        if not self._reasons:
            return ""
        return f"; left out what this model refuses ({self._reasons[0].split('; works')[0]})"
