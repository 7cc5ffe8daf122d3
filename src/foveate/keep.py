"""What `keep` means: the share of visual tokens kept, a float in (0, 1]; 1.0 is off."""

import math
from numbers import Real

from foveate.errors import InputError


def check_keep(keep: object) -> None:
    """Refuse a `keep` that is not a share in (0, 1].

    Raises:
        InputError: otherwise.
    """
    number = float("nan")
    if isinstance(keep, Real) and not isinstance(keep, bool):
        number = float(keep)
    if not 0 < number <= 1:  # NaN fails it too
        raise InputError(f"keep must be a share in (0, 1], got {keep!r}; 1.0 is off")


def kept_count(keep: float, tokens: int) -> int:
    """`ceil(keep * tokens)`, at least 1, safe against a float's last bit (0.28 * 25 is 7, not 8)."""
    return max(math.ceil(keep * tokens - 1e-9), 1)
