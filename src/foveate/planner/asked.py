"""What a model refused while a plan for it was made."""

from foveate.models.limits import Limits
from foveate.reduction import Reduction


class Asked:
    """The limits of a model, and what they refused."""

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits
        self._reasons: list[str] = []

    def refusal(self, reduction: Reduction) -> str:
        """Why the model refuses a reduction; "" if it does not."""
        reason = "" if self.limits is None else self.limits.refusal(reduction)
        if reason:
            self._reasons.append(reason)
        return reason

    @property
    def told(self) -> str:
        """That something was left out, and the first reason; "" if nothing was."""
        if not self._reasons:
            return ""
        return f"; left out what this model refuses ({self._reasons[0].split('; works')[0]})"
