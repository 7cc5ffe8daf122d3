"""What `keep` means: the share of visual tokens kept, a float in (0, 1]; 1.0 is off."""

import math

from foveate.knobs import Keep, check_of, plain


def check_keep(keep: object) -> None:
    """Refuse a `keep` that is not a share in (0, 1].

    Raises:
        InputError: otherwise.
    """
    check_of(Keep)(plain(keep), "keep")


def kept_count(keep: float, tokens: int) -> int:
    """`ceil(keep * tokens)`, at least 1, safe against a float's last bit (0.28 * 25 is 7, not 8)."""
    return max(math.ceil(keep * tokens - 1e-9), 1)
